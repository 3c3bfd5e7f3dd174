# Gitea, and the runner of its jobs.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.fleet.services.gitea;
in
{
  options.fleet.services.gitea = {
    enable = lib.mkEnableOption "the Gitea server";
    runner.enable = lib.mkEnableOption "a runner of its jobs";
    url = lib.mkOption {
      type = lib.types.str;
      default = "https://gitea.lan";
      description = "Where the server is found.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      services.gitea = {
        enable = true;
        database.type = "sqlite3";
        settings.server.ROOT_URL = cfg.url;
        settings.service.DISABLE_REGISTRATION = true;
      };
    })

    (lib.mkIf cfg.runner.enable {
      services.gitea-actions-runner = {
        package = pkgs.gitea-actions-runner;
        instances.main = {
          enable = true;
          name = config.networking.hostName;
          inherit (cfg) url;
          # An EnvironmentFile: it says TOKEN=…, belongs to root, and is read by systemd before the runner starts.
          tokenFile = config.sealift.secrets.gitea-runner-token.path;
          labels = [ "nixos:host" ];
        };
      };
      # A registered runner has no use for another token, so nothing is restarted by `units`; see docs/nix.md. The unit
      # that recipients.toml names is restarted, and registers if it has not yet.
    })
  ];
}
