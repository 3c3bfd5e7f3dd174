# Options that secrets and templates share: the path of a file, its owner, and the units to restart when it changes.
{ lib }:
let
  inherit (lib) mkOption types;

  # A unit by name; without a suffix it is a service.
  suffixes = [
    ".service"
    ".socket"
    ".target"
    ".timer"
    ".path"
    ".mount"
  ];
  unitName =
    name: if lib.any (suffix: lib.hasSuffix suffix name) suffixes then name else "${name}.service";

  unit = types.submodule {
    options = {
      restart = mkOption {
        type = types.bool;
        default = true;
        description = "Whether it is restarted when the delivered bytes changed.";
      };
      reload = mkOption {
        type = types.bool;
        default = false;
        description = "Whether it is reloaded then, instead of being restarted.";
      };
      fromPackage = mkOption {
        type = types.bool;
        default = false;
        description = "Whether a package brings the unit, so that no module declares it.";
      };
      credential = mkOption {
        type = types.nullOr (types.strMatching "[A-Za-z0-9._-]+");
        default = null;
        example = "token";
        description = ''
          The name under which the service finds the value in `$CREDENTIALS_DIRECTORY`. systemd reads the file as root, so
          it works with `DynamicUser` and the file can stay root's.
        '';
      };
    };
  };
  # The owner, by name or number.
  account = types.coercedTo types.ints.unsigned toString types.str // {
    description = "string or number";
  };
  # Whether a definition sets anything, once `mkIf` and `mkMerge` are resolved.
  isSet =
    value:
    if value._type or null == "if" then
      value.condition && isSet value.content
    else if value._type or null == "merge" then
      lib.any isSet value.contents
    else
      true;
in
{
  inherit unitName;

  # The names set by these definitions of an attribute set.
  namesIn =
    definitions:
    builtins.attrNames (
      # Other types are refused by the module system.
      lib.foldl' (all: one: all // lib.filterAttrs (_: isSet) one) { } (lib.filter lib.isAttrs definitions)
    );

  # The alternative way to give a template's content.
  templateFile = mkOption {
    type = types.nullOr types.path;
    default = null;
    example = lib.literalExpression "./app.ini";
    description = "A file with the text, instead of `content`. `<sealift:‹secret›>` in it is where a value goes.";
  };

  common = place: {
    owner = mkOption {
      type = account;
      default = "root";
      description = "Who owns the delivered file: a user of this machine, or a number.";
    };
    group = mkOption {
      type = account;
      defaultText = lib.literalExpression "the owner's own group, but root for the group users, in which all people are";
      description = "Its group, or a number.";
    };
    mode = mkOption {
      type = types.coercedTo types.ints.unsigned toString (types.strMatching "0?[46][0246]0") // {
        description = "permissions as octal digits, with none for others, as in 0400, 0440 or 0640";
      };
      default = "0400";
      apply = (import ./policy.nix).fourDigits;
      description = "Its permissions in octal digits. There are none for others.";
    };
    path = mkOption {
      type = types.str;
      # A path into the store is refused; until then it is looked up by name.
      apply = builtins.unsafeDiscardStringContext;
      defaultText = lib.literalExpression ''"${place}"'';
      description = "Where programs find it. Elsewhere than in its usual place it is a link.";
    };
    restart = mkOption {
      type = types.listOf types.str;
      apply = map unitName;
      default = [ ];
      description = "Units restarted when, and only when, the delivered bytes changed.";
    };
    reload = mkOption {
      type = types.listOf types.str;
      apply = map unitName;
      default = [ ];
      description = "Units reloaded then.";
    };
    units = mkOption {
      type = types.coercedTo (types.listOf types.str) (names: lib.genAttrs names (_: { })) (
        types.attrsOf unit
      );
      apply = lib.mapAttrs' (name: value: lib.nameValuePair (unitName name) value);
      default = { };
      example = lib.literalExpression ''[ "gitea-runner-main.service" ]'';
      description = ''
        The units that use it. They start after secrets are delivered, and are restarted or reloaded when the bytes change. As a list of
        names each is restarted; as an attribute set each says more.
      '';
    };
  };
}
