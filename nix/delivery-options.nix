# Options that secrets and templates have in common: where a file is put, for which user, and which units are restarted when it changed.
{ lib }:
let
  inherit (lib) mkOption types;

  # A unit by its name; one without a suffix is a service.
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
  # Who has it: by name, or by number.
  account = types.coercedTo types.ints.unsigned toString types.str // {
    description = "string or number";
  };
  # Whether a definition sets anything, after what `mkIf` and `mkMerge` make of it.
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

  # The names that these definitions of an attribute set set.
  namesIn =
    definitions:
    builtins.attrNames (
      # One of another type is for the module system to refuse.
      lib.foldl' (all: one: all // lib.filterAttrs (_: isSet) one) { } (lib.filter lib.isAttrs definitions)
    );

  # The other way to say what a template holds.
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
      # One into the store is refused; it is looked up by name until then.
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
