# The options of the NixOS module. recipients.toml says what a secret is and who reads it; these say how it is
# delivered, with every default taken from there.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) literalExpression mkOption types;
  cfg = config.sealift;
  policy = import ./policy.nix;
  delivery = import ./delivery-options.nix { inherit lib; };

  # Lazy: without a fleet, only the assertion that reports it is evaluated.
  inherit (cfg) opened;
  read = opened.policy;
  own = policy.secretsOf read cfg.host;
  others = removeAttrs read.secrets (builtins.attrNames own);
  fileOf = declared: opened.files.${declared.sealed_as};

  # The owner's own group, unless that is the one shared by all regular users.
  groupOf =
    owner:
    let
      group = config.users.users.${owner}.group or "";
    in
    if owner == "root" || group == "" || group == "users" then "root" else group;

  # A secret without settings here, as the submodule below would make it. Most secrets of a fleet are like that, and a
  # submodule for each would take longer to evaluate than the rest of a system.
  unusual = removeAttrs own opened.usualNames;
  plain =
    builtins.intersectAttrs own opened.usual
    // builtins.mapAttrs (
      name: declared:
      policy.plainOf declared
      // {
        group = if read.secrets.${name} ? group then declared.group else groupOf declared.owner;
        file = fileOf declared;
      }
    ) unusual;
  # Names with settings here. `mkIf false` sets nothing.
  changed = delivery.namesIn options.sealift.secrets.definitions;

  notOurs =
    name:
    throw "sealift: the secret ${name} is not for ${cfg.host}\n  add it to `hosts` of secrets.${name} in recipients.toml, then `sealift rekey ${name}`";

  secret = types.submodule (
    { name, config, ... }:
    let
      declared = own.${name} or null;
      fixed =
        kind: default: description:
        mkOption {
          type = kind;
          readOnly = true;
          inherit default description;
          defaultText = literalExpression "what recipients.toml says";
        };
    in
    {
      options = delivery.common "/run/sealift/‹name›" // {
        needed_for_users = mkOption {
          type = types.bool;
          default = false;
          description = ''
            Whether it is delivered before users are made, to `/run/sealift-users`, for root alone: what
            `users.users.‹name›.hashedPasswordFile` reads.
          '';
        };
        file = fixed types.str (
          if declared == null then notOurs name else fileOf declared
        ) "The sealed file, as a store path of its own. Its value is only ever on the machine, at `path`.";
        sealed_as = fixed types.str (declared.sealed_as or name
        ) "The name that its seal must carry: with the host's name for a value of its own for each host.";
        shape = fixed types.str (declared.shape or "raw") "The form of its payload.";
        allow_unsealed = fixed types.bool (declared.allow_unsealed or false
        ) "Whether a file that another tool sealed is accepted.";
      };
      # The delivery according to recipients.toml as defaults; the path depends on `needed_for_users`.
      config =
        let
          says = key: lib.mkIf (declared != null) (lib.mkDefault declared.${key});
        in
        {
          owner = says "owner";
          group =
            if read.secrets.${name} ? group then says "group" else lib.mkOverride 1400 (groupOf config.owner);
          mode = says "mode";
          restart = says "restart";
          reload = says "reload";
          needed_for_users = says "needed_for_users";
          path =
            if read.secrets.${name} ? path then
              says "path"
            else
              lib.mkOverride 1400 (policy.placeOf config.needed_for_users name);
        };
    }
  );

  template = types.submodule (
    { name, config, ... }:
    {
      options = delivery.common "/run/sealift/‹name›" // {
        file = delivery.templateFile;
        content = mkOption {
          type = types.str;
          description = ''
            The text of the file, with `''${config.sealift.placeholder."‹secret›"}` where a value goes. It is put together
            on the machine; the text itself is in the store, where everybody reads it. A placeholder inside a value is
            never expanded again.
          '';
          example = literalExpression ''
            '''
              [database]
              password = ''${config.sealift.placeholder.db-password}
            '''
          '';
        };
      };
      config = {
        content = lib.mkIf (config.file != null) (builtins.readFile config.file);
        group = lib.mkOverride 1400 (groupOf config.owner);
        path = lib.mkOverride 1400 (policy.placeOf false name);
      };
    }
  );
in
{
  options.sealift = {
    fleet = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = literalExpression "./.";
      description = ''
        The folder that holds `recipients.toml` and `secrets/`, inside the flake. `mkFleet` and `moduleFor` set it.
      '';
    };

    opened = mkOption {
      type = types.raw;
      default = if cfg.fleet == null then policy.none else policy.open cfg.fleet;
      internal = true;
      description = "The fleet as it was read: `mkFleet` and `moduleFor` read it once for all machines.";
    };

    host = mkOption {
      type = types.str;
      default =
        let
          inherit (config.networking) hostName;
          domain = config.networking.domain or null;
          full = "${hostName}.${toString domain}";
        in
        if domain != null && !(read.index.hostOf ? ${hostName}) && read.index.hostOf ? ${full} then
          full
        else
          hostName;
      defaultText = literalExpression "config.networking.hostName, with its domain where that is the name of a host";
      # Its name in the flake selects the host too.
      apply = policy.hostOf read;
      description = ''
        The name of this machine in recipients.toml, or its `configuration` there. `mkFleet` sets it to the name of the
        folder.
      '';
    };

    package = mkOption {
      type = types.package;
      default = pkgs.sealift-host or (pkgs.callPackage ./package.nix { }).host;
      defaultText = literalExpression "sealift-host: the output host of the package, which has only what hosts run";
      description = ''
        The program that installs secrets and takes deploys on this machine. It runs as root, so it is built without what
        only an admin's desktop needs.
      '';
    };

    identityPaths = mkOption {
      type = types.listOf types.path;
      default =
        let
          ofType =
            type: map (key: key.path) (builtins.filter (key: key.type == type) config.services.openssh.hostKeys);
          # Secrets of a host added with its RSA key are sealed to that.
          byRsa = lib.any (lib.hasPrefix "ssh-rsa ") read.hosts.${cfg.host}.keys or [ ];
        in
        ofType "ed25519" ++ lib.optionals byRsa (ofType "rsa") ++ [ "/var/lib/sealift/identity" ];
      defaultText = literalExpression ''
        the ed25519 keys of services.openssh.hostKeys, its RSA keys if recipients.toml has one for this machine, then
        "/var/lib/sealift/identity"
      '';
      description = ''
        The private keys that open this machine's secrets, as paths on the machine, in the order in which they are
        tried. Where they lie on a file system of their own, it must be mounted early (`neededForBoot`).
      '';
    };

    keepGenerations = mkOption {
      type = types.ints.u32;
      default = 1;
      description = ''
        How many previous generations of delivered secrets stay in memory. With 0 a failed deploy cannot take an install
        back by itself.
      '';
    };

    secrets = mkOption {
      type = types.attrsOf secret;
      default = { };
      # Every secret of this machine exists without being named; one of other hosts is an error that says so.
      apply = changed: builtins.mapAttrs (name: _: notOurs name) others // plain // changed;
      description = ''
        The secrets of this machine. They come from recipients.toml; what is set here changes how one is delivered, never
        who reads it. A secret of other machines only is an error as soon as it is used.
      '';
      example = literalExpression ''
        {
          gitea-runner-token.units = [ "gitea-runner-main.service" ];
        }
      '';
    };

    templates = mkOption {
      type = types.attrsOf template;
      default = { };
      description = "Files with values of secrets in them, put together on the machine.";
    };

    cli = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether the command line of sealift is installed, and git, which it uses: for a machine from which somebody
          administers the fleet.
        '';
      };
      package = mkOption {
        type = types.package;
        default = pkgs.sealift or (pkgs.callPackage ./package.nix { });
        defaultText = literalExpression "sealift";
        description = "The command line.";
      };
    };

    placeholder = mkOption {
      type = types.lazyAttrsOf types.str;
      readOnly = true;
      default =
        builtins.mapAttrs (name: _: notOurs name) others
        // builtins.mapAttrs (name: _: "<sealift:${name}>") own;
      defaultText = literalExpression "one for each secret of this machine";
      description = "What stands in the `content` of a template where the value of a secret goes.";
    };

    public = mkOption {
      type = types.lazyAttrsOf (types.lazyAttrsOf types.str);
      readOnly = true;
      default = opened.public;
      defaultText = literalExpression "from secrets/*.pub";
      description = ''
        The public halves that lie beside sealed keys, by secret and host: `public.wireguard-key.‹host›` is a peer's public
        key.
      '';
    };

    manifest = mkOption {
      type = types.attrs;
      readOnly = true;
      internal = true;
      description = "What is written to etc/sealift/manifest.json of the system.";
    };

    # Values shared between the parts of this module.
    internal = mkOption {
      type = types.attrs;
      internal = true;
      readOnly = true;
      default = {
        policy = read;
        inherit own;
        commands = if cfg.host == null then { } else policy.commandsOf read cfg.host;
        # Those set here and delivered, without the errors for secrets of other hosts.
        delivered = builtins.intersectAttrs own cfg.secrets;
        # Those with the same delivery on every machine: computed once for all machines.
        entries = removeAttrs (builtins.intersectAttrs own opened.entries) changed;
        # The names of the others.
        special = builtins.attrNames (
          unusual // builtins.intersectAttrs own (lib.genAttrs changed (_: null))
        );
        # Names set in this configuration that are no secret of this machine.
        strangers = builtins.filter (name: !(own ? ${name})) changed;
        hostIsDefault =
          options.sealift.host.highestPrio >= (lib.mkOptionDefault null).priority
          && options.networking.hostName.highestPrio >= (lib.mkOptionDefault null).priority;
      };
      description = "For the parts of this module.";
    };
  };}
