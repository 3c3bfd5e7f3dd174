# Options of NixOS that hold the path of a secret, and those that hold its value, of the table that the program reads too
# (data/nixos-options.json). An option that a system does not have is passed over.
let
  inherit (builtins)
    attrNames
    filter
    head
    listToAttrs
    ;
  # The table, read once for all machines of an evaluation: nothing of it is a machine's.
  table = builtins.fromJSON (builtins.readFile ../data/nixos-options.json);

  # What these hold is a secret and nothing else. Other environment files, and pieces of configuration, may be in the store
  # for good reasons; users.extraUsers is another name of users.users.
  rows = filter (
    row:
    row ? file
    && !row ? value
    && (row.form == "plain-file" || row.form == "credential" || row.key or "*" != "*")
    && builtins.match "users[.]extraUsers[.].*" row.file == null
  ) table;
  # "*" stands for each name of an attribute set.
  files = map entryOf (
    attrNames (
      listToAttrs (
        map (row: {
          name = row.file;
          value = null;
        }) rows
      )
    )
  );
  # A hash of a password is not the password.
  values = map (row: entryOf row.option // { default = row.default or ""; }) (
    filter (row: row ? option && !row.users or false) rows
  );

  # A place as its words, and those before the first "*": only an option that is declared is looked at. Others may be
  # renamed, and complain when they are read.
  entryOf =
    option:
    let
      parts = filter builtins.isString (builtins.split "[.]" option);
      upTo = words: if words == [ ] || head words == "*" then [ ] else [ (head words) ] ++ upTo (builtins.tail words);
    in
    {
      inherit parts;
      fixed = upTo parts;
    };
in
{
  config,
  lib,
  options,
}:
let
  # Whether somebody has set an option, and not its own module as what holds unless somebody does: gitea's names a file
  # that it writes, with mkDefault, on every machine that has it. Where the module system does not tell, it is looked at.
  isSet = option: option.highestPrio or 100 < (lib.mkDefault null).priority;
  # The option of a place inside an attribute set of submodules.
  optionAt =
    option: path:
    let
      entry = option.valueMeta.attrs.${builtins.head path} or null;
    in
    lib.attrByPath (builtins.tail path) { } (entry.configuration.options or { });

  # Each place that an entry names, as far as this system has it, with its value.
  find =
    { parts, fixed, ... }:
    let
      walk =
        name: rest: value:
        if rest == [ ] then
          lib.optional
            (
              value != null
              && isSet (
                if name == fixed then there else optionAt there (lib.drop (builtins.length fixed) name)
              )
            )
            {
              option = lib.concatStringsSep "." name;
              inherit value;
            }
        else if !builtins.isAttrs value then
          [ ]
        else if builtins.head rest == "*" then
          lib.concatLists (
            lib.mapAttrsToList (key: one: walk (name ++ [ key ]) (builtins.tail rest) one) value
          )
        else
          lib.optionals (value ? ${builtins.head rest}) (
            walk (name ++ [ (builtins.head rest) ]) (builtins.tail rest) value.${builtins.head rest}
          );
      # One that must be set, and is not, belongs to a service that this machine does not have.
      there = lib.attrByPath fixed null options;
    in
    lib.optionals (there != null && there.isDefined or true) (walk [ ] parts config);
in
{
  files = lib.concatMap find files;
  inline = lib.concatMap (
    entry:
    map (found: found.option) (filter (found: found.value != "" && found.value != entry.default) (find entry))
  ) values;
}
