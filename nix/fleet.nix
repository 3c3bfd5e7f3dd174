# mkFleet: nixosConfigurations from the folders of hosts/, so that adding a machine needs no edit of the flake.
# moduleFor: the module for machines that a flake builds itself. Both read the fleet once for all machines.
let
  policy = import ./policy.nix;
  inherit (builtins)
    attrNames
    filter
    isFunction
    isList
    pathExists
    ;

  # The machines of a fleet: each folder of hosts/, except those whose name starts with `_` or `.`. Any other invalid
  # one is an error: if it were skipped, it would be missing at its deploy.
  hostsIn =
    fleet:
    let
      top = policy.folder fleet + "/hosts";
      entries = if pathExists top then builtins.readDir top else { };
      read = policy.readFleet fleet;
      # hosts/web.nix, if recipients.toml has a host web.
      hostOfFile =
        name:
        let
          stem = builtins.match "(.*)[.]nix" name;
        in
        if stem != null && entries.${name} == "regular" && read.index.hostOf ? ${builtins.head stem} then
          builtins.head stem
        else
          null;
      isMachine =
        name:
        hostOfFile name != null
        || builtins.match "[._].*" name == null
          && (entries.${name} == "directory" || pathExists (top + "/${name}/default.nix"));
      look =
        name:
        if hostOfFile name != null then
          policy.refuse "hosts/${name} is a file, and a machine is a folder" "git mv hosts/${name} hosts/${hostOfFile name}/default.nix"
        else if !policy.isConfiguration name then
          policy.refuse "hosts/${name} has a name that no system can have"
            "it has letters, digits, . _ and -. A folder that is no machine starts with _ or lies elsewhere"
        else if !pathExists (top + "/${name}/default.nix") then
          policy.refuse "hosts/${name} has no default.nix that the flake sees"
            "write it, or `git add hosts/${name}/default.nix`: a flake sees tracked files only. A folder that is no machine starts with _ or lies elsewhere"
        else
          name;
    in
    if !pathExists top && read.hosts != { } then
      policy.refuse "there is no folder hosts/ beside recipients.toml, of which mkFleet makes machines"
        "write hosts/NAME/default.nix for each and `git add hosts`: a flake sees tracked files only. Machines that lie elsewhere take moduleFor"
    else
      map look (filter isMachine (attrNames entries));

  # The module with its fleet, for every machine.
  moduleFor =
    fleet:
    let
      path = policy.folder fleet;
      opened = policy.open path;
    in
    {
      # Imported twice, it counts as one module.
      key = "sealift: ${toString path}";
      _file = toString ./fleet.nix;
      imports = [ ./module.nix ];
      config.sealift = {
        fleet = path;
        inherit opened;
      };
    };

  mkFleet =
    {
      # The folder with recipients.toml, secrets/ and hosts/: `./.`
      fleet,
      # The flake input; its lib.nixosSystem makes the systems.
      nixpkgs,
      # Modules of every machine, and of single machines by name.
      modules ? [ ],
      perHost ? (_: [ ]),
      specialArgs ? { },
    }:
    let
      module = moduleFor fleet;
      nixosSystem =
        nixpkgs.lib.nixosSystem or (policy.refuse "mkFleet's `nixpkgs` is not the flake input: it has no lib.nixosSystem"
          "nixpkgs = inputs.nixpkgs; and not its legacyPackages, nor its path"
        );
      ofHost =
        if isFunction perHost && builtins.functionArgs perHost != { } then
          policy.refuse "mkFleet's `perHost` takes a set, and gets the name of a machine" "perHost = name: [ … ];"
        else if isFunction perHost || perHost ? __functor then
          perHost
        else
          policy.refuse "mkFleet's `perHost` is not a function" "perHost = name: [ … ]; gets the name of a machine and gives its modules";
      listed =
        what: given:
        if isList given then
          given
        else
          policy.refuse "mkFleet's `${what}` is not a list" "modules stand in brackets: [ ./common.nix ]";
      # A deploy builds the system with the configuration's name.
      configured =
        name:
        let
          read = policy.readFleet fleet;
          configuration = policy.configurationOf read (policy.hostOf read name);
        in
        if configuration == name then
          name
        else
          policy.refuse "hosts/${name} is the folder of a host whose configuration is ${configuration}" "git mv hosts/${name} hosts/${configuration}, or take `configuration` from hosts.${name} in recipients.toml";
      # A host name contains no domain.
      networkingOf =
        name:
        let
          parts = builtins.match "([^.]*)[.](.*)" name;
        in
        if parts == null then
          { hostName = name; }
        else
          {
            hostName = builtins.head parts;
            domain = builtins.elemAt parts 1;
          };
      system =
        name:
        nixosSystem {
          inherit specialArgs;
          modules = [
            module
            { sealift.host = configured name; }
            # A machine's host name may differ from its name in the fleet.
            ({ lib, ... }: { networking = builtins.mapAttrs (_: lib.mkDefault) (networkingOf name); })
            (policy.folder fleet + "/hosts/${name}")
          ]
          ++ listed "modules" modules
          ++ listed "perHost ${name}" (ofHost name);
        };
    in
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = system name;
      }) (hostsIn fleet)
    );
in
{
  inherit hostsIn mkFleet moduleFor;
}
