# The home-manager module: a user's own secrets, opened with the user's own key when the user's systemd starts, into
# memory of that user. What a machine needs belongs to the NixOS module, which needs no personal key.
{
  config,
  lib,
  options,
  pkgs,
  ...
}@arguments:
let
  inherit (lib) literalExpression mkOption types;
  cfg = config.sealift;
  policy = import ./policy.nix;
  delivery = import ./delivery-options.nix { inherit lib; };
  inherit (config.home) username;
  # Only set if the home is part of a system. As an argument with a default it would be looked up and not found.
  osConfig = arguments.osConfig or null;

  read = policy.readFleet cfg.fleet;
  # A secret as its reader gets it. Without a reader the user is an admin, who can open any secret with one value for
  # all hosts.
  declared =
    name:
    if !(read.secrets ? ${name}) then
      policy.refuse "recipients.toml declares no secret ${name}" (policy.known (builtins.attrNames read.secrets))
    else if cfg.reader == null && read.secrets.${name}.per_host or false then
      policy.refuse "the secret ${name} has a value of its own for each host, and an admin is none of them" "sealift.reader says whose"
    else if cfg.reader != null && read.hosts ? ${cfg.reader} && !policy.reads read cfg.reader name then
      policy.refuse "the secret ${name} is not for ${cfg.reader}" "add ${cfg.reader} to `hosts` of secrets.${name} in recipients.toml, then `sealift rekey ${name}`"
    else
      policy.deliveryOf read (if cfg.reader == null then "nobody" else cfg.reader) name;

  # Only the user's systemd knows the runtime directory's path. This symlink has a fixed one.
  folder = "${config.xdg.stateHome}/sealift";

  common = builtins.removeAttrs (delivery.common "‹state home›/sealift/‹name›") [
    "group"
    "owner"
    "path"
  ];
  path =
    name:
    mkOption {
      type = types.str;
      readOnly = true;
      default = "${folder}/${name}";
      defaultText = literalExpression ''"''${config.xdg.stateHome}/sealift/‹name›"'';
      description = "Where programs find it. It holds no variable that a shell would have to expand.";
    };

  secret = types.submodule (
    { name, ... }:
    {
      options = common // {
        path = path name;
      };
    }
  );

  template = types.submodule (
    { name, config, ... }:
    {
      options = common // {
        path = path name;
        file = delivery.templateFile;
        content = mkOption {
          type = types.str;
          description = ''
            The text of the file, with `''${config.sealift.placeholder."‹secret›"}` where a value goes.
          '';
        };
      };
      config.content = lib.mkIf (config.file != null) (builtins.readFile config.file);
    }
  );

  told =
    one:
    let
      reloaded = lib.filterAttrs (_: unit: unit.reload) one.units;
      restarted = lib.filterAttrs (_: unit: unit.restart && !unit.reload) one.units;
    in
    {
      inherit (one) mode;
      owner = username;
      # Not a group of any account: everything is private to its owner.
      group = username;
      restart = lib.unique (one.restart ++ builtins.attrNames restarted);
      reload = lib.unique (one.reload ++ builtins.attrNames reloaded);
    };

  manifest = (import ./manifest.nix).make {
    # Only informative: the user's name is not a host's.
    host = if cfg.reader == null then "home" else cfg.reader;
    identities = cfg.identityPaths;
    inherit (cfg) keepGenerations;
    secrets = builtins.mapAttrs (
      name: one:
      declared name
      // told one
      // {
        path = policy.placeOf false name;
        needed_for_users = false;
        file = policy.fileOf (policy.folder cfg.fleet) (declared name).sealed_as;
      }
    ) cfg.secrets;
    templates = builtins.mapAttrs (
      name: one:
      told one
      // {
        inherit (one) content;
        path = policy.placeOf false name;
      }
    ) cfg.templates;
  };

  program = "${cfg.package.host or cfg.package}/bin/sealift-host";
  file = pkgs.writeTextFile {
    name = "sealift-home-manifest.json";
    text = builtins.toJSON manifest;
    checkPhase = ''
      ${import ./checker.nix { inherit pkgs program; }} install --check "$target"
    '';
  };

  # The uses of secrets by unit.
  uses = lib.concatLists (
    lib.mapAttrsToList (
      name: one:
      lib.mapAttrsToList (unit: how: {
        inherit name unit;
        inherit (one) path;
        inherit (how) credential fromPackage;
        stem = lib.removeSuffix ".service" unit;
      }) (lib.filterAttrs (unit: _: lib.hasSuffix ".service" unit) one.units)
    ) (cfg.secrets // cfg.templates)
  );
  ofSystem = if osConfig == null then { } else osConfig.systemd.user.services or { };
  # A unit that home-manager does not define: a file of its name in the home would replace it and start nothing.
  isForeign = use: use.fromPackage || lib.hasInfix "@" use.stem || ofSystem ? ${use.stem};
  consumer = use: {
    ${use.stem} = {
      Unit = {
        Wants = [ "sealift-install.service" ];
        After = [ "sealift-install.service" ];
      };
      Service = lib.mkIf (use.credential != null) {
        LoadCredential = [ "${use.credential}:${use.path}" ];
      };
    };
  };
  dropIn = unit: of: {
    name = "systemd/user/${unit}.d/sealift.conf";
    value.text = lib.concatMapStrings (line: line + "\n") (
      [
        "[Unit]"
        "Wants=sealift-install.service"
        "After=sealift-install.service"
        "[Service]"
      ]
      ++ map (use: "LoadCredential=${use.credential}:${use.path}") (
        lib.filter (use: use.credential != null) of
      )
    );
  };

  used = cfg.secrets != { } || cfg.templates != { };
  check =
    isWell: what: mend:
    lib.optional (!isWell) "sealift: ${what}\n  ${mend}";

  services =
    let
      others = lib.filter (
        definition: definition.file != toString ./home-manager.nix
      ) options.systemd.user.services.definitionsWithLocations;
      declaredByOthers = lib.genAttrs (delivery.namesIn (map (definition: definition.value) others)) (
        _: null
      );
    in
    lib.concatMap (
      use:
      check (isForeign use || declaredByOthers ? ${use.stem})
        "${use.name} names ${use.unit} in `units`, and this home has no such service"
        "look at its name; for one that a package brings, `units.\"${use.unit}\".fromPackage = true;`"
    ) uses;

  templates = lib.concatLists (
    lib.mapAttrsToList (
      name: one:
      lib.concatMap (
        named:
        check (cfg.secrets ? ${named})
          "the template ${name} has a placeholder of ${named}, which is no secret of this user"
          "use config.sealift.placeholder.…; ${policy.known (builtins.attrNames cfg.secrets)}"
      ) (policy.placeholdersIn one.content)
      ++
        check (!(cfg.secrets ? ${name})) "the template ${name} has the name of a secret"
          "give the template another name"
    ) cfg.templates
  );
in
{
  options.sealift = {
    fleet = mkOption {
      type = types.nullOr types.path;
      default = if osConfig == null then null else osConfig.sealift.fleet or null;
      defaultText = literalExpression "osConfig.sealift.fleet";
      description = "The folder that holds `recipients.toml` and `secrets/`, inside the flake.";
    };

    reader = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "jay-laptop";
      description = ''
        Under which name of `[hosts]` in recipients.toml this user has a key; all secrets of that name are there then.
        Without it the user's key is an admin's, and `secrets` names those that are wanted.
      '';
    };

    identityPaths = mkOption {
      type = types.listOf types.str;
      default = [
        "${config.xdg.configHome}/sealift/identity"
        "${config.home.homeDirectory}/.ssh/id_ed25519"
      ];
      defaultText = literalExpression ''[ "~/.config/sealift/identity" "~/.ssh/id_ed25519" ], written out'';
      description = ''
        The user's private keys, as absolute paths. Nobody is there to type a passphrase when the user's systemd starts.
      '';
    };

    package = mkOption {
      type = types.package;
      default = pkgs.sealift-host or (pkgs.callPackage ./package.nix { }).host;
      defaultText = literalExpression "sealift-host";
      description = "The program that installs.";
    };

    keepGenerations = mkOption {
      type = types.ints.u32;
      default = 1;
      description = "How many previous generations stay in memory.";
    };

    secrets = mkOption {
      type = types.attrsOf secret;
      default = { };
      example = literalExpression ''{ "api/token" = { }; }'';
      description = "The secrets that are delivered to this user.";
    };

    templates = mkOption {
      type = types.attrsOf template;
      default = { };
      description = "Files with values of secrets in them, put together in memory.";
    };

    placeholder = mkOption {
      type = types.lazyAttrsOf types.str;
      readOnly = true;
      default = builtins.mapAttrs (name: _: "<sealift:${name}>") cfg.secrets;
      defaultText = literalExpression "one for each secret of this user";
      description = "What stands in the `content` of a template where the value of a secret goes.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf (cfg.reader != null && cfg.fleet != null) {
      sealift.secrets = builtins.mapAttrs (_: _: { }) (policy.secretsOf read cfg.reader);
    })
    {
      assertions =
        map
          (message: {
            assertion = false;
            inherit message;
          })
          (
            lib.optionals used (
              check (
                cfg.fleet != null
              ) "sealift.fleet is not set" "sealift.fleet = ./.; in the flake that holds recipients.toml"
              ++ check (cfg.reader == null || cfg.fleet == null || read.hosts ? ${cfg.reader})
                "recipients.toml has no host ${toString cfg.reader}"
                "`sealift host add` adds the user's key under a name of its own"
              ++ lib.concatMap (
                path:
                check
                  (lib.hasPrefix "/" path && !(lib.hasInfix "$" path) && !(lib.hasPrefix builtins.storeDir path))
                  "sealift.identityPaths names ${path}"
                  "write the whole path, without a variable and not in the Nix store"
              ) cfg.identityPaths
              ++ services
              ++ templates
            )
          );
    }
    (lib.mkIf (used && cfg.fleet != null) {
      systemd.user.services = lib.mkMerge (
        [
          {
            sealift-install = {
              Unit.Description = "Install the secrets of ${username}";
              Service = {
                Type = "oneshot";
                RemainAfterExit = true;
                TimeoutStartSec = "3min";
                UMask = "0077";
                LimitCORE = 0;
                # Before the install, so that the link exists even if some secrets do not open.
                ExecStartPre = [
                  "${pkgs.coreutils}/bin/mkdir -p ${config.xdg.stateHome}"
                  "${pkgs.coreutils}/bin/ln -sfnT %t/sealift ${folder}"
                ];
                ExecStart = "${program} install --strict=live --user-dir %t ${file}";
              };
              Install.WantedBy = [ "default.target" ];
            };
          }
        ]
        ++ map consumer (lib.filter (use: !isForeign use) uses)
      );
      xdg.configFile = lib.mapAttrs' dropIn (lib.groupBy (use: use.unit) (lib.filter isForeign uses));
    })
  ];
}
