# docs/options.md: every option of both modules, from their declarations. `lib` is that of nixpkgs; a test reports when
# the document must be regenerated, and with which command.
{ lib }:
let
  shown =
    value:
    if value._type or null == "literalExpression" then
      value.text
    else if value._type or null == "literalMD" then
      value.text
    else if builtins.isAttrs value && value ? _type then
      "…"
    else
      lib.generators.toPretty { multiline = false; } value;

  # A table row is one line, so line breaks are joined.
  oneLine =
    text:
    lib.concatStringsSep " " (lib.filter (line: line != "") (map lib.trim (lib.splitString "\n" text)));

  describe =
    option:
    [
      "### `${option.name}`"
      ""
      (lib.trim (option.description or ""))
      ""
      "- type: ${oneLine option.type}${lib.optionalString option.readOnly ", read only"}"
    ]
    ++ lib.optional (option ? default) "- default: `${oneLine (shown option.default)}`"
    ++ lib.optional (option ? example) "- example: `${oneLine (shown option.example)}`"
    ++ [ "" ];

  of =
    module:
    let
      evaluated = lib.evalModules {
        modules = [
          module
          # What the defaults of options refer to; never evaluated here.
          {
            options.networking.hostName = lib.mkOption { default = ""; };
            config._module = {
              check = false;
              args.pkgs = { };
            };
          }
        ];
      };
      all = lib.optionAttrSetToDocList { inherit (evaluated.options) sealift; };
      visible = builtins.filter (option: option.visible && !option.internal) all;
    in
    lib.concatMap describe (lib.sort (a: b: a.name < b.name) visible);
in
lib.concatStringsSep "\n" (
  [
    "# Options of the Nix modules"
    ""
    "Made from the modules themselves by `nix/options-doc.nix`; [nix.md](nix.md) says how they are used."
    ""
    "## NixOS"
    ""
  ]
  ++ of ./options.nix
  ++ [
    "## home-manager"
    ""
  ]
  ++ of ./home-manager.nix
)
