# Mistakes that would fail on the machine, reported during evaluation with what to do. Only actual faults become
# assertions: the module system evaluates each one, and a machine may have thousands of secrets.
{
  config,
  lib,
  options,
  utils,
  ...
}:
let
  cfg = config.sealift;
  policy = import ./policy.nix;
  delivery = import ./delivery-options.nix { inherit lib; };
  inherit (cfg.internal)
    delivered
    own
    special
    strangers
    ;
  read = cfg.internal.policy;

  # A fault as a list, which is empty if all is well.
  check =
    isWell: what: mend:
    lib.optional (!isWell) "sealift: ${what}\n  ${mend}";

  # Strings that are looked up as attribute names must have no context: Nix refuses it there.
  textOf = value: builtins.unsafeDiscardStringContext (toString value);

  # A path literal, or a string into the store: everybody can read it.
  inStore = path: builtins.isPath path || lib.hasPrefix builtins.storeDir (toString path);

  fleet = check (
    cfg.fleet != null
  ) "sealift.fleet is not set" "sealift.fleet = ./.; in the flake that holds recipients.toml";

  host =
    let
      # web, for Web or web.lan.
      short = lib.toLower (builtins.head (lib.splitString "." cfg.host));
      hosts = policy.known (builtins.attrNames read.hosts);
      isDefault = options.sealift.host.highestPrio >= (lib.mkOptionDefault null).priority;
      said = if isDefault then "networking.hostName" else "sealift.host";
    in
    check (!cfg.internal.hostIsDefault)
      "networking.hostName was left at its default, ${cfg.host}, so nothing says which machine this is"
      "networking.hostName = \"…\"; or sealift.host = \"…\";"
    ++ (
      if policy.isConfiguration cfg.host then
        check (read.hosts ? ${cfg.host}) "recipients.toml has no host ${cfg.host}" (
          if read.hosts ? ${short} then
            "configuration = \"${cfg.host}\" in [hosts.${short}], where the flake calls ${short} so; or sealift.host = \"${short}\"; ${hosts}"
          else
            "`sealift host add ${cfg.host} --key …` adds it; where it has another name there, sealift.host = \"…\"; ${hosts}"
        )
      else
        check false "${said} is ${cfg.host}, and a host of recipients.toml cannot have that name"
          "sealift.host = \"…\"; says which one this machine is; ${hosts}"
    );

  identities =
    check (cfg.identityPaths != [ ])
      "sealift.identityPaths is empty: nothing could open this machine's secrets"
      "name the machine's private key, as in [ \"/etc/ssh/ssh_host_ed25519_key\" ]"
    ++ lib.concatMap (
      path:
      check (!inStore path)
        "sealift.identityPaths names ${baseNameOf (toString path)} by a path of the Nix store, which everybody can read"
        "write the path on the machine as a string: \"/etc/ssh/…\". A key that was in the store is known: `sealift host rekey`"
      ++ check (!lib.hasSuffix ".pub" (toString path))
        "sealift.identityPaths names ${toString path}, the public half of a key, which opens nothing"
        "name the private one: \"${lib.removeSuffix ".pub" (toString path)}\""
    ) cfg.identityPaths
    ++ unreadable;

  # The file system that contains a path of the machine.
  mounts = (config.boot.specialFileSystems or { }) // (config.fileSystems or { });
  mountOf =
    path:
    let
      above = lib.filter (
        place: place == "/" || path == place || lib.hasPrefix "${place}/" path
      ) (builtins.attrNames mounts);
      deepest = lib.foldl' (
        best: place: if builtins.stringLength place > builtins.stringLength best then place else best
      ) "/" above;
    in
    lib.optional (mounts ? ${deepest}) (
      mounts.${deepest}
      // {
        place = deepest;
      }
    );
  forUsers = lib.filter (name: delivered.${name}.needed_for_users) special;
  # Why a key would be missing when it is needed; empty if it would not.
  hindrance =
    named:
    let
      # environment.etc may be only a link to it.
      leads = config.environment.etc.${etc.${textOf named} or ""}.source or null;
      path = if leads != null && !inStore leads then textOf leads else textOf named;
      # Files that impermanence restores one by one are not in `fileSystems`.
      isBroughtBack = options.environment ? persistence && !lib.hasPrefix "/run/" path;
    in
    map
      (
        mount:
        if
          lib.elem mount.fsType [
            "ramfs"
            "tmpfs"
          ]
        then
          lib.optional (!isBroughtBack) "${path} lies in memory (${mount.fsType} at ${mount.place}), which each boot empties"
        else
          lib.optional (
            forUsers != [ ]
            && !(mount.neededForBoot or false || lib.elem mount.place utils.pathsNeededForBoot)
          ) "${path} lies on ${mount.place}, which is not mounted when users are made"
      )
      (mountOf path);
  # One available key is enough.
  hindrances = map (path: lib.flatten (hindrance path)) cfg.identityPaths;
  unreadable =
    check (hindrances == [ ] || lib.any (why: why == [ ]) hindrances)
      "none of sealift.identityPaths can be read ${
        if forUsers == [ ] then
          "when secrets are installed"
        else
          "before users are made, when ${lib.concatStringsSep ", " forUsers} is delivered"
      }: ${lib.concatStringsSep "; " (lib.flatten hindrances)}"
      "name the key where it is kept, as in \"/persist/etc/ssh/ssh_host_ed25519_key\", on a file system with fileSystems.\"…\".neededForBoot = true;";

  strange = lib.concatMap (
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

  files =
    let
      lost = lib.genAttrs cfg.opened.lost (_: null);
    in
    lib.optionals (cfg.opened.lost != [ ]) (
      policy.missing (lib.filter (name: lost ? ${name}) (map (one: one.sealed_as) (builtins.attrValues own)))
    );

  # Users and groups are declared names, or numbers.
  isNumber = name: builtins.match "[0-9]+" name != null;
  inherit (config.users) users groups;
  owners = lib.concatMap (
    name:
    let
      one = all.${name};
    in
    check (users ? ${one.owner} || isNumber one.owner)
      "${name} is for the user ${one.owner}, which this machine does not declare"
      "users.users.${one.owner} = { … }; or a number. A service with DynamicUser has no user to name: leave it root's, and use EnvironmentFile or `units.….credential`"
    ++
      check (groups ? ${one.group} || isNumber one.group)
        "${name} is for the group ${one.group}, which this machine does not declare"
        "users.groups.${one.group} = { }; or a number"
    ++ check (
      !inStore one.path
    ) "${name} would be found in the Nix store, which everybody can read" "give it another `path`"
    ++
      check (inStore one.path || isPlace one.path || one.path == policy.placeOf (one.needed_for_users or false) name)
        "${name} would be found at ${one.path}, where no secret may be"
        "a `path` is absolute, of letters, digits and . _ - + @ :, and not below /proc, /sys or where sealift keeps its own files"
    ++
      check (!(one.needed_for_users or false) || isRoot one.owner && isRoot one.group)
        "${name} is needed before there are users, and is for ${one.owner}:${one.group}"
        "it can belong to root only: leave its `owner` and `group` away"
  ) names;
  isRoot = name: name == "root" || name == "0";
  # The same rule as `install` (src/domain/policy/paths.rs).
  isPlace =
    path:
    builtins.match "(/[A-Za-z0-9._+@:-]+)+" path != null
    && builtins.match ".*/[.][.]?(/.*)?" path == null
    && builtins.match "/(proc|sys|run/sealift|run/sealift[.]d|run/sealift-users|run/sealift-users[.]d|run/sealift[.]lock)(/.*)?" path == null;

  # Everything that is delivered, and the names of entries with settings that could be wrong.
  all = delivered // cfg.templates;
  names = special ++ builtins.attrNames cfg.templates;
  # Two entries at one path, or one in the directory of another: the later one would replace the former. The default
  # paths conflict only with what is put among them.
  paths = map (name: all.${name}.path) names;
  isAmongThem = path: lib.hasPrefix "/run/sealift/" path || path == "/run/sealift";
  clashes =
    if cfg.opened.clash || lib.any isAmongThem paths then
      policy.clashes (map (name: all.${name}.path) (builtins.attrNames all))
    else
      policy.clashes paths;
  byPath = lib.groupBy (name: all.${name}.path) (builtins.attrNames all);
  twice = lib.filterAttrs (_: names: builtins.length names > 1) byPath;
  foldersOf =
    path:
    let
      parts = lib.splitString "/" path;
    in
    map (count: lib.concatStringsSep "/" (lib.take count parts)) (
      lib.range 1 (builtins.length parts - 1)
    );
  below = lib.filter (path: lib.any (folder: byPath ? ${folder}) (foldersOf path)) (
    builtins.attrNames byPath
  );
  places =
    lib.optionals clashes (
      lib.concatLists (
        lib.mapAttrsToList (
          path: names:
          check false "${lib.concatStringsSep " and " names} are both found at ${path}"
            "give one of them another `path`"
        ) twice
      )
      ++ lib.concatMap (
        path:
        check false "${
          lib.concatStringsSep ", " byPath.${path}
        } lies in a folder that is the path of another secret: ${path}" "give one of them another `path`"
      ) below
    )
    ++ lib.concatMap (
      name: check false "the template ${name} has the name of a secret" "give the template another name"
    ) (builtins.attrNames (builtins.intersectAttrs delivered cfg.templates))
    ++ inEtc;

  # A file of environment.etc is a link into the store, which an install does not replace.
  etc = lib.mapAttrs' (name: file: {
    name = "/etc/${file.target or name}";
    value = name;
  }) (lib.filterAttrs (_: file: file.enable or true) config.environment.etc);
  inEtc = lib.concatMap (
    name:
    let
      inherit (all.${name}) path;
      taken = lib.filter (place: etc ? ${place}) ([ path ] ++ foldersOf path);
    in
    lib.optionals (lib.hasPrefix "/etc/" path) (
      lib.concatMap (
        place:
        check false "${name} would be found at ${path}, where environment.etc.\"${etc.${place}}\" puts a link into the Nix store"
          "give it another `path`, or take that entry of environment.etc away"
      ) taken
    )
  ) names;

  templates = lib.concatMap (
    name:
    lib.concatMap (
      secret:
      check (delivered ? ${secret} && !delivered.${secret}.needed_for_users)
        "the template ${name} has a placeholder of ${secret}, which is no secret that it can hold"
        "use config.sealift.placeholder.…; ${
          policy.known (builtins.attrNames (lib.filterAttrs (_: one: !one.needed_for_users) delivered))
        }"
    ) (policy.placeholdersIn cfg.templates.${name}.content)
    ++
      check (policy.isSecretName name) "the name of the template ${name} is outside its alphabet"
        "letters a to z, digits, . _ - and / between parts"
  ) (builtins.attrNames cfg.templates);

  # The users of secrets, with the unit's name.
  uses = lib.concatMap (
    name:
    lib.mapAttrsToList (unit: how: {
      inherit name unit;
      inherit (how) credential fromPackage;
    }) all.${name}.units
  ) (lib.filter (name: all.${name}.units != { }) names);

  # A service that nothing else defines would get a unit from us that starts nothing.
  services =
    let
      others = lib.filter (
        definition: definition.file != toString ./consumers.nix
      ) options.systemd.services.definitionsWithLocations;
      declared = lib.genAttrs (delivery.namesIn (map (definition: definition.value) others)) (_: null);
      isAlias =
        unit: lib.any (service: lib.elem unit (service.aliases or [ ])) (builtins.attrValues config.systemd.services);
    in
    lib.concatMap (
      use:
      let
        stem = lib.removeSuffix ".service" use.unit;
      in
      check
        (
          !lib.hasSuffix ".service" use.unit
          || use.fromPackage
          || lib.hasInfix "@" stem
          || declared ? ${stem}
          || isAlias use.unit
        )
        "${use.name} names ${use.unit} in `units`, and this machine has no such service"
        "look at its name; for one that a package brings, `units.\"${use.unit}\".fromPackage = true;`"
    ) uses;

  credentials = lib.concatLists (
    lib.mapAttrsToList (
      _: same:
      let
        first = builtins.head same;
      in
      check (builtins.length same == 1)
        "${lib.concatMapStringsSep " and " (use: use.name) same} are both the credential ${first.credential} of ${first.unit}"
        "give one of them another `units.\"${first.unit}\".credential`"
    ) (lib.groupBy (use: "${use.unit} ${use.credential}") (lib.filter (use: use.credential != null) uses))
  );

  # Secrets delivered only after users exist.
  late = builtins.listToAttrs (
    lib.concatMap (
      name:
      map
        (path: {
          name = path;
          value = name;
        })
        [
          all.${name}.path
          (policy.placeOf false name)
        ]
    ) (lib.filter (name: !(all.${name}.needed_for_users or false)) (builtins.attrNames all))
  );
  passwords = lib.concatLists (
    lib.mapAttrsToList (
      user: one:
      let
        file = textOf (one.hashedPasswordFile or "");
        name = late.${file};
      in
      lib.optionals (file != "" && late ? ${file}) (
        check false
          "users.users.${user}.hashedPasswordFile is ${file}, which is delivered after users are made: ${user} could not log in"
          (
            if delivered ? ${name} then
              "needed_for_users = true in [secrets.${name}] of recipients.toml"
            else
              "a template cannot be a password; seal its hash as a secret with needed_for_users = true"
          )
      )
    ) users
  );

  # Options of NixOS that take the path of a secret. A path literal there would be copied to the store.
  watched = import ./watched.nix { inherit config lib options; };
  literal = lib.concatMap (
    found:
    let
      isOfFound = name: textOf delivered.${name}.file == textOf found.value;
      sealed = lib.findFirst isOfFound null (builtins.attrNames delivered);
    in
    lib.optionals (inStore found.value) (
      if sealed != null then
        check false "${found.option} is the sealed file of ${sealed}, which opens on the machine only"
          "set it to config.sealift.secrets.${lib.strings.escapeNixIdentifier sealed}.path"
      else
        check false "${found.option} names a file in the Nix store, which everybody can read"
          "seal it (`sealift seal NAME --from-file FILE`), and set it to config.sealift.secrets.NAME.path. A value that was in the store or in git is known: rotate it"
    )
  ) watched.files;
  # A literal path is not checked, unlike config.sealift.secrets.….path.
  undelivered = lib.concatMap (
    found:
    let
      value = toString found.value;
      isKnown = lib.any (
        name:
        value == all.${name}.path
        || value == policy.placeOf (all.${name}.needed_for_users or false) name
      ) (builtins.attrNames all);
    in
    lib.optionals (lib.hasPrefix "/run/sealift/" value || lib.hasPrefix "/run/sealift-users/" value) (
      check isKnown "${found.option} is ${value}, where nothing is delivered to this machine"
        "set it to config.sealift.secrets.NAME.path; ${policy.known (builtins.attrNames delivered)}"
    )
  ) watched.files;

  # The device is identified by its certificate; syncthing generates a new key and certificate if either is missing.
  syncthing = config.services.syncthing or { };
  halfASyncthing = (syncthing.enable or false) && (syncthing.key or null == null) != (syncthing.cert or null == null);
in
{
  # Later assertions apply only if the ones they depend on hold.
  assertions =
    map
      (message: {
        assertion = false;
        inherit message;
      })
      (
        fleet
        ++ lib.optionals (cfg.fleet != null) (
          host
          ++ identities
          ++ strange
          ++ files
          ++ owners
          ++ places
          ++ templates
          ++ services
          ++ credentials
          ++ passwords
          ++ undelivered
        )
        ++ literal
      );

  warnings =
    map (
      option:
      "sealift: ${option} is a value in the world-readable Nix store; use its …File twin with config.sealift.secrets.NAME.path, and rotate it"
    ) watched.inline
    ++
      lib.optional halfASyncthing
        "sealift: services.syncthing has ${
          if syncthing.key == null then "a `cert` without its `key`" else "a `key` without its `cert`"
        }: a machine without the other generates both, and has another device ID\n  seal both, with per_host = true";
}
