# What would go wrong on the machine, said while the system is evaluated, each with its mend.
{
  config,
  lib,
  options,
  ...
}:
let
  cfg = config.sealift;
  policy = import ./policy.nix;
  inherit (cfg.internal) delivered own strangers;
  read = cfg.internal.policy;

  check = assertion: what: mend: {
    inherit assertion;
    message = "sealift: ${what}\n  ${mend}";
  };

  # A path literal, or a string into the store: everybody can read what is there.
  inStore = path: builtins.isPath path || lib.hasPrefix builtins.storeDir (toString path);

  fleet = [
    (check (
      cfg.fleet != null
    ) "sealift.fleet is not set" "sealift.fleet = ./.; in the flake that holds recipients.toml")
  ];

  host = [
    (check (!cfg.internal.hostIsDefault)
      "networking.hostName was left at its default, ${cfg.host}, so nothing says which machine this is"
      "networking.hostName = \"…\"; or sealift.host = \"…\";"
    )
    (check (read.hosts ? ${cfg.host}) "recipients.toml has no host ${cfg.host}"
      "`sealift host add ${cfg.host} --key …` adds it; ${policy.known (builtins.attrNames read.hosts)}"
    )
  ];

  identities = [
    (check (cfg.identityPaths != [ ])
      "sealift.identityPaths is empty: nothing could open this machine's secrets"
      "name the machine's private key, as in [ \"/etc/ssh/ssh_host_ed25519_key\" ]"
    )
  ]
  ++ map (
    path:
    check (!inStore path)
      "sealift.identityPaths names ${baseNameOf (toString path)} by a path of the Nix store, which everybody can read"
      "write the path on the machine as a string: \"/etc/ssh/…\". A key that was in the store is known: `sealift host rekey`"
  ) cfg.identityPaths;

  strange = map (
    name:
    check false
      (
        if read.secrets ? ${name} then
          "the secret ${name} is not for ${cfg.host}"
        else
          "recipients.toml declares no secret ${name}"
      )
      (
        if read.secrets ? ${name} then
          "add ${cfg.host} to `hosts` of secrets.${name} in recipients.toml, then `sealift rekey ${name}`"
        else
          "`sealift seal ${name} --hosts ${cfg.host}` makes it; ${policy.known (builtins.attrNames own)}"
      )
  ) strangers;

  files = map (
    name:
    let
      sealedAs = own.${name}.sealed_as;
    in
    {
      assertion = builtins.pathExists (policy.fileIn (policy.folder cfg.fleet) sealedAs);
      message = policy.missing sealedAs;
    }
  ) (builtins.attrNames own);

  # Users and groups: declared, or numbers.
  isNumber = name: builtins.match "[0-9]+" name != null;
  owners = name: one: [
    (check (isNumber one.owner || config.users.users ? ${one.owner})
      "${name} is for the user ${one.owner}, whom this machine does not declare"
      "users.users.${one.owner} = { … }; or a number. A service with DynamicUser has no user to name: leave it root's, and use EnvironmentFile or `units.….credential`"
    )
    (check (isNumber one.group || config.users.groups ? ${one.group})
      "${name} is for the group ${one.group}, which this machine does not declare"
      "users.groups.${one.group} = { }; or a number"
    )
    (check (
      !inStore one.path
    ) "${name} would be found in the Nix store, which everybody can read" "give it another `path`")
  ];

  all = delivered // cfg.templates;
  # Two at one path, or one in the folder of another: what is put there later would take the first away.
  paths = lib.groupBy (name: all.${name}.path) (builtins.attrNames all);
  twice = lib.filterAttrs (_: names: builtins.length names > 1) paths;
  foldersOf =
    path:
    let
      parts = lib.splitString "/" path;
    in
    map (count: lib.concatStringsSep "/" (lib.take count parts)) (
      lib.range 1 (builtins.length parts - 1)
    );
  below = lib.filter (path: lib.any (folder: paths ? ${folder}) (foldersOf path)) (
    builtins.attrNames paths
  );
  places =
    lib.mapAttrsToList (
      path: names:
      check false "${lib.concatStringsSep " and " names} are both found at ${path}"
        "give one of them another `path`"
    ) twice
    ++ map (
      path:
      check false "${
        lib.concatStringsSep ", " paths.${path}
      } lies in a folder that is the path of another secret: ${path}" "give one of them another `path`"
    ) below
    ++ map (
      name: check false "the template ${name} has the name of a secret" "give the template another name"
    ) (builtins.attrNames (builtins.intersectAttrs delivered cfg.templates));

  templates = lib.concatMap (
    name:
    let
      pieces = builtins.split "<sealift:([^>\n]*)>" cfg.templates.${name}.content;
      named = lib.unique (map builtins.head (builtins.filter builtins.isList pieces));
    in
    map (
      secret:
      check (delivered ? ${secret} && !delivered.${secret}.needed_for_users)
        "the template ${name} has a placeholder of ${secret}, which is no secret that it can hold"
        "use config.sealift.placeholder.…; ${
          policy.known (builtins.attrNames (lib.filterAttrs (_: one: !one.needed_for_users) delivered))
        }"
    ) named
    ++ [
      (check (policy.isSecretName name) "the name of the template ${name} is outside its alphabet"
        "letters a to z, digits, . _ - and / between parts"
      )
    ]
  ) (builtins.attrNames cfg.templates);

  # Options of NixOS that take the path of a secret. A file that is named by a path literal is copied to the store.
  watched = import ./watched.nix { inherit config lib options; };
  literal = map (
    found:
    check (!inStore found.value)
      "${found.option} names a file in the Nix store, which everybody can read"
      "seal it (`sealift seal NAME --from-file FILE`), and set it to config.sealift.secrets.NAME.path. A value that was in the store or in git is known: rotate it"
  ) watched.files;
in
{
  # One that asks for more only counts where what it rests on is right.
  assertions =
    fleet
    ++ lib.optionals (cfg.fleet != null) (
      host
      ++ identities
      ++ strange
      ++ files
      ++ lib.concatLists (lib.mapAttrsToList owners all)
      ++ places
      ++ templates
    )
    ++ literal;

  warnings = map (
    option:
    "sealift: ${option} is a value in the world-readable Nix store; use its …File twin with config.sealift.secrets.NAME.path, and rotate it"
  ) watched.inline;
}
