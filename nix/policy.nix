# recipients.toml as Nix sees it: who reads what, and how it is delivered. Pure, and needs no nixpkgs. It believes what
# `sealift check` proves of the file, and refuses only what would make it choose wrongly.
let
  inherit (builtins)
    addErrorContext
    attrNames
    any
    concatStringsSep
    elem
    filter
    fromTOML
    isString
    listToAttrs
    match
    stringLength
    substring
    ;

  fits = pattern: word: isString word && match pattern word != null;
  part = "[a-z0-9][a-z0-9._-]*";

  # The one alphabet of names: they become paths and names in the store.
  isSecretName = name: fits "${part}(/${part})*" name && stringLength name <= 128;
  isHostName = name: fits "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?" name;

  refuse = what: mend: throw "sealift: ${what}\n  ${mend}";

  known =
    names: if names == [ ] then "there are none yet" else "known: ${concatStringsSep ", " names}";

  # The text of recipients.toml, read and looked at.
  read =
    text:
    let
      parsed = addErrorContext "while Nix reads recipients.toml (its TOML is 1.0 without dates: write a date as a string)" (
        fromTOML text
      );
      policy = {
        admins = { };
        hosts = { };
        secrets = { };
      }
      // parsed;
      version = parsed.version or null;
      wrongSecrets = filter (name: !isSecretName name) (attrNames policy.secrets);
      wrongHosts = filter (name: !isHostName name) (attrNames policy.hosts);
    in
    if version != 1 then
      refuse "recipients.toml is not of version 1, which is all that this module reads" "update the flake input sealift"
    else if wrongSecrets != [ ] || wrongHosts != [ ] then
      refuse "recipients.toml has a host or secret whose name is outside its alphabet" "`sealift check` names it"
    else
      policy;

  tagsOf = policy: host: policy.hosts.${host}.tags or [ ];

  # Whether a word of `hosts` names a host: a name, "@tag" or "*".
  names =
    policy: host: word:
    word == "*" || word == host || elem word (map (tag: "@" + tag) (tagsOf policy host));

  # A word that names nobody is a mistake, and it would silently take a secret away.
  namesNobody =
    policy: word: word != "*" && !any (host: names policy host word) (attrNames policy.hosts);

  # Whether a host reads a secret.
  reads =
    policy: host: name:
    let
      words =
        policy.secrets.${name}.hosts
          or (refuse "secrets.${name} in recipients.toml has no `hosts`" "`sealift check` tells more");
      lost = filter (namesNobody policy) words;
    in
    if lost != [ ] then
      refuse "secrets.${name} in recipients.toml names ${concatStringsSep ", " lost}, which is no host" (
        known (attrNames policy.hosts)
      )
    else
      any (names policy host) words;

  # "400" is written as "0400", here as in Rust.
  fourDigits = mode: if stringLength mode == 3 then "0" + mode else mode;

  # How one secret is delivered to one host, every default filled in. The keys are those of recipients.toml.
  deliveryOf =
    policy: host: name:
    let
      secret = policy.secrets.${name};
      forUsers = secret.needed_for_users or false;
    in
    {
      # Where its value lies under secrets/, without ".age", which is also what the seal calls it.
      sealed_as = if secret.per_host or false then "${name}/${host}" else name;
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

  # The commands of the checks of one host, by name.
  commandsOf =
    policy: host:
    let
      checks = policy.checks or { };
      isOf = name: checks.${name} ? command && any (names policy host) (checks.${name}.on or [ "*" ]);
    in
    listToAttrs (
      map (name: {
        inherit name;
        value = checks.${name}.command;
      }) (filter isOf (attrNames checks))
    );

  # Where a delivered file is found, unless it says otherwise.
  placeOf = forUsers: name: "/run/${if forUsers then "sealift-users" else "sealift"}/${name}";

  # The secrets of one host, by name.
  secretsOf =
    policy: host:
    listToAttrs (
      map (name: {
        inherit name;
        value = deliveryOf policy host name;
      }) (filter (reads policy host) (attrNames policy.secrets))
    );

  # Where a sealed file is in a fleet.
  fileIn = fleet: sealedAs: fleet + "/secrets/${sealedAs}.age";
  publicIn = fleet: sealedAs: fleet + "/secrets/${sealedAs}.pub";

  # A store name has no "/", and no "@".
  storeName = sealedAs: builtins.replaceStrings [ "/" ] [ "-" ] sealedAs + ".age";

  # A sealed file as a store path of its own: another secret, or another file of the repository, does not change it.
  # What is not there is told with its mend.
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
      throw (missing sealedAs);

  missing =
    sealedAs:
    "sealift: secrets/${sealedAs}.age is not in the flake\n  seal it with `sealift seal ${sealedAs}`; if it is there, `git add secrets/${sealedAs}.age`: a flake sees tracked files only";

  # The public halves that lie beside the sealed files of a secret, by host: WireGuard keys of all peers, for example.
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

  # Any way of naming a folder, as a path: a flake, a string and a path look the same from here on, and nothing is copied.
  # A string that a path is appended to would carry the whole source with it. One that is to be built is built first.
  folder =
    fleet:
    let
      text = toString fleet;
    in
    if builtins.isPath fleet then
      fleet
    else
      builtins.seq (builtins.pathExists text) (/. + builtins.unsafeDiscardStringContext text);
in
{
  inherit
    commandsOf
    deliveryOf
    fileIn
    fileOf
    folder
    fourDigits
    isHostName
    isSecretName
    known
    missing
    placeOf
    publicOf
    read
    reads
    secretsOf
    storeName
    ;

  # The policy of the fleet in a folder.
  readFleet =
    fleet:
    let
      path = folder fleet + "/recipients.toml";
    in
    if builtins.pathExists path then
      read (builtins.readFile path)
    else
      refuse "there is no recipients.toml in ${toString fleet}" "`sealift init` makes one, and `git add recipients.toml` lets the flake see it";
}
