# mkFleet: nixosConfigurations from the folders of hosts/, so that adding a machine edits no flake.
let
  policy = import ./policy.nix;

  # The machines of a fleet: the folders of hosts/ with a default.nix and a host's name.
  hostsIn =
    fleet:
    let
      top = policy.folder fleet + "/hosts";
      entries = if builtins.pathExists top then builtins.readDir top else { };
      isHost = name: policy.isHostName name && builtins.pathExists (top + "/${name}/default.nix");
    in
    builtins.filter isHost (builtins.attrNames entries);

  mkFleet =
    {
      # The folder with recipients.toml, secrets/ and hosts/: `./.`
      fleet,
      # The flake input: its lib.nixosSystem makes the systems.
      nixpkgs,
      # Modules of every machine, and of one machine by its name.
      modules ? [ ],
      perHost ? (_: [ ]),
      specialArgs ? { },
    }:
    let
      system =
        name:
        nixpkgs.lib.nixosSystem {
          inherit specialArgs;
          modules = [
            ./module.nix
            {
              sealift = {
                fleet = policy.folder fleet;
                host = name;
              };
            }
            # A machine may have another name for the world than in the fleet.
            ({ lib, ... }: { networking.hostName = lib.mkDefault name; })
            (policy.folder fleet + "/hosts/${name}")
          ]
          ++ modules
          ++ perHost name;
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
  inherit hostsIn mkFleet;
}
