# What a system contains of sealift: the manifest, the program on the host, and the units that install.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.sealift;
  secrets = cfg.internal.delivered;
  program = "${cfg.package.host or cfg.package}/bin/sealift-host";

  restarted = lib.filterAttrs (_: unit: unit.restart && !unit.reload);
  reloaded = lib.filterAttrs (_: unit: unit.reload);
  # Adds the units in `units` to the lists.
  told =
    _: one:
    if one.units == { } then
      one
    else
      one
      // {
        restart = lib.unique (one.restart ++ builtins.attrNames (restarted one.units));
        reload = lib.unique (one.reload ++ builtins.attrNames (reloaded one.units));
      };

  ofUsers = builtins.filter (secret: secret.needed_for_users) (
    map (name: secrets.${name}) cfg.internal.special
  );
  forUsers = ofUsers != [ ];
  # Whether a unit early in the boot makes the users, not the activation script.
  byUnit = config.systemd.sysusers.enable || config.services.userborn.enable;

  text = builtins.toJSON cfg.manifest;
  # A manifest that the program would refuse must not become part of a system. It is checked at build time, for a
  # machine of another platform by the program for the builder's platform.
  checker = import ./checker.nix { inherit pkgs program; };
  manifest = pkgs.writeTextFile {
    name = "sealift-manifest.json";
    inherit text;
    checkPhase = ''
      ${checker} install --check "$target"
    '';
  };

  # At boot, whatever opens is installed; on a switch, all or nothing. The program detects which it is.
  command = options: "${program} install --strict=live ${options}${manifest}";

  common = {
    wantedBy = [ "sysinit.target" ];
    requiredBy = [ "sysinit-reactivation.target" ];
    conflicts = [ "shutdown.target" ];
    unitConfig = {
      DefaultDependencies = false;
      RequiresMountsFor = map toString cfg.identityPaths;
    };
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      # It waits up to a minute for another install; the rest takes less than a second.
      TimeoutStartSec = "3min";
    }
    // import ./hardening.nix;
  };
in
{
  sealift.manifest = (import ./manifest.nix).make {
    inherit (cfg) host keepGenerations;
    identities = map toString cfg.identityPaths;
    secrets = builtins.mapAttrs told secrets;
    inherit (cfg.internal) entries;
    templates = builtins.mapAttrs told cfg.templates;
  };

  environment.systemPackages = lib.mkIf cfg.cli.enable [
    cfg.cli.package
    pkgs.git
  ];

  environment.etc = {
    "sealift/manifest.json".source = manifest;
    # The commands that `verify` and a deploy run as root come from here, not from a work tree. A separate file, so that
    # changing a check does not run the install again.
    "sealift/checks.json".source = pkgs.writeTextFile {
      name = "sealift-checks.json";
      text = builtins.toJSON {
        version = 1;
        inherit (cfg.internal) commands;
      };
    };
    # The program that a deploy starts on the machine, named in sudoers.
    "sealift/host".source = program;
  };

  systemd.services.sealift-install = lib.mkMerge [
    common
    {
      description = "Install the secrets of this machine";
      before = [
        "sysinit.target"
        "sysinit-reactivation.target"
        "shutdown.target"
      ];
      # Owners exist by then.
      after = [
        "local-fs.target"
        "systemd-sysusers.service"
        "userborn.service"
      ];
      serviceConfig.ExecStart = command "";
    }
  ];

  systemd.services.sealift-install-users = lib.mkIf (forUsers && byUnit) (
    lib.mkMerge [
      common
      {
        description = "Install the secrets that users are made with";
        # Not after local-fs.target, which itself waits for the users.
        before = [
          "systemd-sysusers.service"
          "userborn.service"
          "sealift-install.service"
          "sysinit.target"
          "sysinit-reactivation.target"
          "shutdown.target"
        ];
        serviceConfig.ExecStart = command "--users ";
      }
    ]
  );

  # userborn writes passwords when it runs, but its unit would not change with them. (systemd-sysusers does not update
  # passwords, and the activation script runs in every switch.)
  systemd.services.userborn = lib.mkIf (forUsers && config.services.userborn.enable) {
    restartTriggers = map (secret: secret.file) ofUsers;
  };

  # A deploy that was killed, by itself or with the machine, is completed or rolled back. Its journal triggers this,
  # which waits while a deploy is running. It may activate another system, so nothing waits for it, and no switch
  # restarts it.
  systemd.paths.sealift-recover = {
    description = "Look for an interrupted deploy";
    wantedBy = [ "multi-user.target" ];
    pathConfig.PathExists = "/var/lib/sealift/deploy/journal.json";
  };
  systemd.services.sealift-recover = {
    description = "Finish or take back an interrupted deploy";
    after = [
      "sealift-install.service"
      "nix-daemon.socket"
    ];
    unitConfig = {
      ConditionPathExists = "/var/lib/sealift/deploy/journal.json";
      # It may switch to a system without this unit.
      X-StopOnRemoval = false;
    };
    restartIfChanged = false;
    stopIfChanged = false;
    path = [ config.nix.package ];
    serviceConfig = {
      Type = "exec";
      KillMode = "mixed";
      ExecStart = "${program} host-run --recover --wait";
      # A rollback is a whole switch.
      TimeoutStopSec = "15min";
      # It runs commands of checks and users' login shells, which need root's privileges. A switch runs in its own unit.
      KeyringMode = "private";
      LimitCORE = 0;
      LockPersonality = true;
      RestrictRealtime = true;
    };
  };

  # By default, users are made by the activation script, before any unit.
  system.activationScripts = lib.mkIf (forUsers && !byUnit) {
    sealift-users = {
      deps = [ "specialfs" ];
      text = ''
        PATH=${config.systemd.package}/bin:$PATH ${command "--users "}
      '';
    };
    users.deps = [ "sealift-users" ];
  };
}
