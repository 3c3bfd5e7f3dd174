# The NixOS options that contain the path or the value of a secret, from the table that the program reads too
# (data/nixos-options.json). Options that a system does not have are skipped.
let
  inherit (builtins)
    attrNames
    filter
    head
    listToAttrs
    ;
  # The table, read once for all machines of an evaluation: it does not depend on the machine.
  table = builtins.fromJSON (builtins.readFile ../data/nixos-options.json);

  # These contain only a secret. Other environment files, and parts of configurations, may be in the store for good
  # reasons; users.extraUsers is an alias of users.users.
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
  # A password hash is not the password.
  values = map (row: entryOf row.option // { default = row.default or ""; }) (
    filter (row: row ? option && !row.users or false) rows
  );

  # A place as a list of names, and those before the first "*": only declared options are evaluated. Others may be
  # renamed, and warn when read.
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
  # Whether the user has set an option, as opposed to its own module with a default: gitea sets a file that it writes,
  # with mkDefault, on every machine. Without priority information it counts as set.
  isSet = option: option.highestPrio or 100 < (lib.mkDefault null).priority;
  # The option for a place inside an attribute set of submodules.
  optionAt =
    option: path:
    let
      entry = option.valueMeta.attrs.${builtins.head path} or null;
    in
    lib.attrByPath (builtins.tail path) { } (entry.configuration.options or { });

  # Each place of an entry that this system has, with its value.
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
      # A required option that is not set belongs to a service that this machine does not use.
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
