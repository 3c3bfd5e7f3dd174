# Wallabag, which NixOS has no module for: its container, and a database. One sealed password serves both: the container
# finds it among other lines of an environment file that is put together on the machine, the database as a credential.
{
  config,
  lib,
  pkgs,
  ...
}:
{
  options.fleet.services.wallabag.enable = lib.mkEnableOption "Wallabag";

  config = lib.mkIf config.fleet.services.wallabag.enable {
    virtualisation.podman.enable = true;
    virtualisation.oci-containers = {
      backend = "podman";
      containers.wallabag = {
        image = "docker.io/wallabag/wallabag:2.6.13";
        volumes = [ "wallabag-images:/var/www/wallabag/web/assets/images" ];
        environmentFiles = [ config.sealift.templates."wallabag.env".path ];
        # The database listens on this machine only.
        extraOptions = [ "--network=host" ];
      };
    };

    services.postgresql = {
      enable = true;
      package = pkgs.postgresql; # pinned in overlays/pins.nix
      ensureDatabases = [ "wallabag" ];
      ensureUsers = [
        {
          name = "wallabag";
          ensureDBOwnership = true;
        }
      ];
    };

    systemd.services.wallabag-database = {
      description = "Give Wallabag's database its password";
      wantedBy = [ "multi-user.target" ];
      # The target: the service is up before its databases and roles are made.
      requires = [ "postgresql.target" ];
      after = [ "postgresql.target" ];
      before = [ "podman-wallabag.service" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        User = "postgres";
      };
      # psql reads the file itself: the password is in no argument and no environment.
      script = ''
        ${config.services.postgresql.package}/bin/psql --no-psqlrc --set ON_ERROR_STOP=1 <<'END'
        \set password `cat "$CREDENTIALS_DIRECTORY/password"`
        ALTER ROLE wallabag PASSWORD :'password';
        END
      '';
    };

    sealift.secrets.wallabag-password.units."wallabag-database.service".credential = "password";
    sealift.templates."wallabag.env" = {
      content = ''
        SYMFONY__ENV__DATABASE_DRIVER=pdo_pgsql
        SYMFONY__ENV__DATABASE_HOST=127.0.0.1
        SYMFONY__ENV__DATABASE_PORT=5432
        SYMFONY__ENV__DATABASE_NAME=wallabag
        SYMFONY__ENV__DATABASE_USER=wallabag
        SYMFONY__ENV__DATABASE_PASSWORD=${config.sealift.placeholder.wallabag-password}
        SYMFONY__ENV__DOMAIN_NAME=https://wallabag.lan
      '';
      units = [ "podman-wallabag.service" ];
    };
  };
}
