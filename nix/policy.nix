# recipients.toml as seen by Nix: who reads what, and how it is delivered. Pure, without nixpkgs. It relies on what
# `sealift check` verifies, and refuses only what would make it select the wrong thing. What is the same for all hosts
# of a fleet is computed once.
let
  inherit (builtins)
    addErrorContext
    all
    attrNames
    attrValues
    any
    concatMap
    concatStringsSep
    filter
    fromTOML
    groupBy
    head
    isAttrs
    isBool
    isList
    isString
    listToAttrs
    mapAttrs
    match
    stringLength
    substring
    typeOf
    ;

  fits = pattern: word: isString word && match pattern word != null;
  part = "[a-z0-9][a-z0-9._-]*";

  # The alphabet of names, which become paths and store names.
  isSecretName = name: fits "${part}(/${part})*" name && stringLength name <= 128;
  isHostName = name: fits "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?" name;
  # The valid names of hosts in a flake and of folders in hosts/.
  isConfiguration = name: fits "[A-Za-z0-9][A-Za-z0-9._-]*" name && stringLength name <= 253;

  refuse = what: mend: throw "sealift: ${what}\n  ${mend}";

  known =
    names:
    let
      count = builtins.length names;
      first = builtins.genList (builtins.elemAt names) 12;
    in
    if names == [ ] then
      "there are none yet"
    else if count <= 12 then
      "known: ${concatStringsSep ", " names}"
    else
      "known: ${concatStringsSep ", " first} and ${toString (count - 12)} more";

  # The types of the values used here. Any other would be a Nix error without file and key.
  text = {
    fits = isString;
    is = "a string";
  };
  flag = {
    fits = isBool;
    is = "true or false";
  };
  words = {
    fits = value: isList value && all isString value;
    is = "a list of strings";
  };
  forms = {
    hosts = {
      configuration = text;
      keys = words;
      tags = words;
    };
    secrets = {
      allow_unsealed = flag;
      description = text;
      group = text;
      hosts = words;
      mode = text;
      needed_for_users = flag;
      owner = text;
      path = text;
      per_host = flag;
      reload = words;
      restart = words;
      shape = text;
    };
    checks = {
      command = words;
      on = words;
    };
  };

  # Each value of a wrong type, with its key and the expected type.
  misformed =
    policy:
    concatMap (
      kind:
      let
        table = policy.${kind};
        form = forms.${kind};
        inside =
          name:
          if isAttrs table.${name} then
            map
              (key: {
                place = "${kind}.${name}.${key}";
                inherit (form.${key}) is;
                value = table.${name}.${key};
              })
              (
                filter (key: !(form.${key}.fits table.${name}.${key})) (
                  attrNames (builtins.intersectAttrs form table.${name})
                )
              )
          else
            [
              {
                place = "${kind}.${name}";
                is = "a table";
                value = table.${name};
              }
            ];
      in
      if isAttrs table then
        concatMap inside (attrNames table)
      else
        [
          {
            place = kind;
            is = "a table";
            value = table;
          }
        ]
    ) (attrNames forms);

  kindOf =
    value:
    {
      int = "a number";
      float = "a number";
      bool = "true or false";
      string = "a string";
      list = "a list of something else";
      set = "a table";
    }
    .${typeOf value};

  # Reads and checks the text of recipients.toml.
  read =
    source:
    let
      parsed =
        addErrorContext
          "while Nix reads recipients.toml (its TOML is 1.0 without dates: write a date as a string); `sealift check` says more"
          (
            # Nix shows this line where it cannot read the file: it takes TOML 1.0 only, and no dates.
            fromTOML source # recipients.toml: `sealift check` says what is wrong with it; write a date as a string
          );
      policy = {
        admins = { };
        hosts = { };
        secrets = { };
        checks = { };
      }
      // parsed;
      version = parsed.version or null;
      wrongSecrets = filter (name: !isSecretName name) (attrNames policy.secrets);
      wrongHosts = filter (name: !isHostName name) (attrNames policy.hosts);
      wrongConfigurations = filter (name: !isConfiguration (configurationOf policy name)) (
        attrNames policy.hosts
      );
      # Two hosts with the same name would both get one's system.
      sames = filter (same: builtins.length same > 1) (
        attrValues (groupBy (pair: pair.name) (namesOf policy))
      );
      wrong = misformed policy;
    in
    if version != 1 then
      refuse "recipients.toml is not of version 1, which is all that this module reads" "update the flake input sealift"
    else if wrong != [ ] then
      refuse "${(head wrong).place} in recipients.toml is ${kindOf (head wrong).value}, and should be ${(head wrong).is}" "`sealift check` shows its line"
    else if wrongSecrets != [ ] then
      refuse "recipients.toml has a secret whose name is outside its alphabet: ${head wrongSecrets}" "letters a to z, digits, . _ - and / between parts; `sealift check` says more"
    else if wrongHosts != [ ] then
      refuse "recipients.toml has a host whose name is outside its alphabet: ${head wrongHosts}" "letters a to z, digits and -; its name in the flake, where that is another, is its `configuration`; `sealift check` says more"
    else if wrongConfigurations != [ ] then
      refuse "hosts.${head wrongConfigurations}.configuration in recipients.toml is no name of a system" "letters, digits, . _ and -; `sealift check` says more"
    else if sames != [ ] then
      refuse "two hosts of recipients.toml are called ${(head (head sames)).name}: ${
        concatStringsSep " and " (map (pair: pair.value) (head sames))
      }" "give one of them another `configuration`, or another name"
    else
      policy // { index = indexOf policy; };

  # The name of a host's system in the flake.
  configurationOf = policy: host: policy.hosts.${host}.configuration or host;
  # Both names of each host, in the fleet and in the flake.
  namesOf =
    policy:
    concatMap (
      host:
      map (name: {
        inherit name;
        value = host;
      }) ([ host ] ++ filter (name: name != host) [ (configurationOf policy host) ])
    ) (attrNames policy.hosts);
  # The host with this name; the name itself if there is none.
  hostOf = policy: name: policy.index.hostOf.${name} or name;

  # What is the same for every host, by name, evaluated lazily.
  indexOf =
    policy:
    let
      hosts = attrNames policy.hosts;
      tagged = concatMap (
        host:
        map (tag: {
          word = "@" + tag;
          inherit host;
        }) (policy.hosts.${host}.tags or [ ])
      ) hosts;
    in
    rec {
      hostOf = listToAttrs (namesOf policy);
      # The hosts selected by an element of `hosts`: a host, "@tag" or "*".
      named =
        mapAttrs (
          _: pairs:
          listToAttrs (
            map (pair: {
              name = pair.host;
              value = null;
            }) pairs
          )
        ) (groupBy (pair: pair.word) tagged)
        // mapAttrs (host: _: { ${host} = null; }) policy.hosts
        // {
          "*" = policy.hosts;
        };
      # The sets of hosts that read each secret. An element that selects nothing is a mistake that would silently remove
      # a reader.
      readers = mapAttrs (
        name: secret:
        let
          said = secret.hosts or (refuse "secrets.${name} in recipients.toml has no `hosts`" "`sealift check` says more");
          lost = filter (word: !(named ? ${word})) said;
        in
        if lost != [ ] then
          refuse "secrets.${name} in recipients.toml names ${concatStringsSep ", " lost}, which is no host" (
            known hosts
          )
        else
          map (word: named.${word}) said
      ) policy.secrets;
      # The delivery of each, which is the same for all hosts except with per-host values.
      deliveries = mapAttrs delivery policy.secrets;
      # A secret without `hosts` is a group of its own.
      wordsOf =
        name:
        let
          secret = policy.secrets.${name};
        in
        if secret ? hosts then concatStringsSep " " secret.hosts else "!${name}";
      # Secrets grouped by readers, to be combined: each host is looked up once per group.
      groups = map (
        names:
        let
          isOwn = name: policy.secrets.${name}.per_host or false;
        in
        {
          readers = readers.${head names};
          shared = map (name: {
            inherit name;
            value = deliveries.${name};
          }) (filter (name: !isOwn name) names);
          perHost = filter isOwn names;
        }
      ) (attrValues (groupBy wordsOf (attrNames policy.secrets)));
    };

  # Whether a host reads a secret.
  reads =
    policy: host: name:
    any (set: set ? ${host}) policy.index.readers.${name};

  # "400" is written as "0400", here as in Rust.
  fourDigits = mode: if stringLength mode == 3 then "0" + mode else mode;

  # How one secret is delivered, every default filled in. The keys are those of recipients.toml.
  delivery =
    name: secret:
    let
      forUsers = secret.needed_for_users or false;
    in
    {
      # The path of its sealed file under secrets/, without ".age", as in the seal.
      sealed_as = name;
      owner = secret.owner or "root";
      group = secret.group or "root";
      mode = fourDigits (secret.mode or "0400");
      path = secret.path or (placeOf forUsers name);
      shape = secret.shape or "raw";
      restart = secret.restart or [ ];
      reload = secret.reload or [ ];
      needed_for_users = forUsers;
      allow_unsealed = secret.allow_unsealed or false;
      description = secret.description or "";
    };

  # The delivery of one secret to one host.
  deliveryOf =
    policy: host: name:
    if policy.secrets.${name}.per_host or false then
      policy.index.deliveries.${name} // { sealed_as = "${name}/${host}"; }
    else
      policy.index.deliveries.${name};

  # The commands of one host's checks, by name.
  commandsOf =
    policy: host:
    let
      isOn = word: policy.index.named.${word} or { } ? ${host};
      isOf = check: check ? command && any isOn (check.on or [ "*" ]);
      own = filter (name: isOf policy.checks.${name}) (attrNames policy.checks);
    in
    listToAttrs (
      map (name: {
        inherit name;
        value = policy.checks.${name}.command;
      }) own
    );

  # The default path of a delivered file.
  placeOf = forUsers: name: "/run/${if forUsers then "sealift-users" else "sealift"}/${name}";

  # The secrets of one host, by name.
  secretsOf =
    policy: host:
    let
      groups = filter (group: any (set: set ? ${host}) group.readers) policy.index.groups;
    in
    listToAttrs (
      concatMap (
        group:
        group.shared
        ++ map (name: {
          inherit name;
          value = deliveryOf policy host name;
        }) group.perHost
      ) groups
    );

  # The secrets named in a template's text.
  placeholdersIn =
    content:
    attrNames (
      listToAttrs (
        map (piece: {
          name = head piece;
          value = null;
        }) (filter isList (builtins.split "<sealift:([^>\n]*)>" content))
      )
    );

  # The path of a sealed file in a fleet.
  fileIn = fleet: sealedAs: fleet + "/secrets/${sealedAs}.age";
  publicIn = fleet: sealedAs: fleet + "/secrets/${sealedAs}.pub";

  # A store name has no "/", and no "@".
  storeName = sealedAs: builtins.replaceStrings [ "/" ] [ "-" ] sealedAs + ".age";

  # Each sealed file as a separate store path, which does not change with other secrets or files of the repository. A
  # missing file is an error with its fix.
  fileOf =
    fleet: sealedAs:
    let
      path = fileIn fleet sealedAs;
    in
    if builtins.pathExists path then
      builtins.path {
        inherit path;
        name = storeName sealedAs;
      }
    else
      throw (head (missing [ sealedAs ]));

  # The message for missing sealed files: each of a few, otherwise for all.
  missing =
    sealed:
    if builtins.length sealed <= 3 then
      map (
        name:
        "sealift: secrets/${name}.age is not in the flake\n  seal it with `sealift seal ${name}`; if it is there, `git add secrets/${name}.age`: a flake sees tracked files only"
      ) sealed
    else
      [
        "sealift: ${toString (builtins.length sealed)} sealed files are not in the flake, the first is secrets/${head sealed}.age\n  `git add secrets`: a flake sees tracked files only; `sealift check` names those that are not sealed yet"
      ];

  # The public halves next to the sealed files of a secret, by host: such as the WireGuard keys of all peers.
  publicOf =
    fleet: policy: name:
    let
      secret = policy.secrets.${name};
      hosts = filter (host: reads policy host name) (attrNames policy.hosts);
      place = host: publicIn fleet (if secret.per_host or false then "${name}/${host}" else name);
    in
    listToAttrs (
      map (host: {
        name = host;
        value = trimmed (builtins.readFile (place host));
      }) (filter (host: builtins.pathExists (place host)) hosts)
    );

  # Without its last newline.
  trimmed =
    text:
    let
      last = stringLength text - 1;
    in
    if last >= 0 && substring last 1 text == "\n" then substring 0 last text else text;

  # For a missing fleet.
  none = opened "/" (read "version = 1");

  # A fleet with what its machines share, computed once. Nix does not cache function results, but it caches the values
  # of a file: here a lazy tree of all paths, character by character. So machines that are evaluated independently, such
  # as with `nixosModules.default` in a flake, read a fleet only once.
  open =
    fleet:
    let
      path = folder fleet;
      text = toString path;
      step = node: at: if node == null then null else node.below.${substring at 1 text} or null;
      node = builtins.foldl' step tree (builtins.genList (at: at) (stringLength text));
    in
    # A path with other characters is read by each machine.
    if !builtins.isPath path || node == null then openPath path else node.opened;
  openAt = text: {
    opened = openPath (/. + text);
    below = mapAttrs (letter: _: openAt (text + letter)) letters;
  };
  tree = openAt "";
  openPath =
    path:
    opened path (
      if builtins.pathExists (path + "/recipients.toml") then
        read (builtins.readFile (path + "/recipients.toml"))
      else
        refuse "there is no recipients.toml in ${toString path}" (
          if baseNameOf path == "recipients.toml" then
            "name the folder that holds it"
          else
            "`sealift init` makes one, and `git add recipients.toml` lets the flake see it"
        )
    );
  letters =
    let
      all = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=?@,:~ ";
    in
    listToAttrs (
      builtins.genList (at: {
        name = substring at 1 all;
        value = null;
      }) (stringLength all)
    );
  opened =
    path: policy:
    let
      sealedOf =
        name:
        if policy.secrets.${name}.per_host or false then
          map (host: "${name}/${host}") (filter (host: reads policy host name) (attrNames policy.hosts))
        else
          [ name ];
      ofSealed =
        make:
        listToAttrs (
          map (name: {
            inherit name;
            value = make name;
          }) (concatMap sealedOf (attrNames policy.secrets))
        );
    in
    rec {
      inherit policy;
      # By name under secrets/.
      files = ofSealed (fileOf path);
      # The names under secrets/ without a file.
      lost = filter (name: !builtins.pathExists (fileIn path name)) (attrNames files);
      public = mapAttrs (name: _: publicOf path policy name) policy.secrets;
      # Secrets without settings in the module whose delivery does not depend on the machine: root's, at their default
      # paths. None of them can be wrong by itself; whether they conflict with each other is known for all of them.
      usual = mapAttrs (name: one: plainOf one // { file = files.${name}; }) (
        builtins.removeAttrs policy.index.deliveries (
          filter (
            name:
            let
              secret = policy.secrets.${name};
            in
            secret ? path
            || secret.per_host or false
            || secret.needed_for_users or false
            || secret.owner or "root" != "root"
            || secret.group or "root" != "root"
          ) (attrNames policy.secrets)
        )
      );
      usualNames = attrNames usual;
      entries = mapAttrs (import ./manifest.nix).entry usual;
      clash = clashes (map (name: usual.${name}.path) usualNames);
    };

  # A delivery in the form of the module's option, without its file.
  plainOf =
    one:
    builtins.removeAttrs one [ "description" ]
    // {
      units = { };
    };

  # Whether two of these paths are equal, or one is a directory above another. Sorted, paths below a directory follow
  # it, so each is compared only with the one before.
  clashes =
    paths:
    let
      sorted = builtins.sort builtins.lessThan (map (path: path + "/") paths);
      step =
        before: path:
        if before == true || substring 0 (stringLength before) path == before then true else path;
    in
    sorted != [ ] && builtins.foldl' step (head sorted) (builtins.tail sorted) == true;

  # A fleet's folder given as a flake, string or path, as a path, without copying anything. Appending to a string would
  # depend on the whole source. A derivation's output is built first.
  folder =
    fleet:
    let
      text = toString fleet;
      path = /. + builtins.unsafeDiscardStringContext text;
    in
    if builtins.isPath fleet then
      fleet
    else if !(isString fleet || fleet ? outPath) || substring 0 1 text != "/" then
      refuse "the fleet is ${
        if isString fleet then "\"${fleet}\"" else "a ${typeOf fleet}"
      }, and no path of a folder" "fleet = ./.; without quotes: the folder that holds recipients.toml"
    # In a store below another root, as for nixos-install, Nix finds the paths in strings, but not path values.
    else if builtins.pathExists text && !builtins.pathExists path then
      text
    else
      path;

  # The policy of the fleet in a folder.
  readFleet = fleet: (open fleet).policy;
in
{
  inherit
    clashes
    commandsOf
    configurationOf
    deliveryOf
    fileIn
    fileOf
    folder
    fourDigits
    hostOf
    isConfiguration
    isHostName
    isSecretName
    known
    missing
    none
    open
    placeOf
    placeholdersIn
    plainOf
    publicOf
    read
    readFleet
    reads
    refuse
    secretsOf
    storeName
    ;
}
