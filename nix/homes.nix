# mkHomes: homeConfigurations."USER@HOST" from the machines of a fleet, for homes that are switched separately.
{
  # The flake input; its lib.homeManagerConfiguration makes the homes.
  home-manager,
  # The machines: self.nixosConfigurations. Each home has the packages of its machine, and the machine's configuration
  # as `osConfig`, like a home that is part of the system: the same files work for both.
  systems,
  user,
  # The home-manager modules of a machine, by its name.
  modules,
  extraSpecialArgs ? (_: { }),
}:
let
  home =
    host:
    let
      inherit (systems.${host}) config pkgs;
      account = config.users.users.${user};
    in
    home-manager.lib.homeManagerConfiguration {
      inherit pkgs;
      extraSpecialArgs = {
        osConfig = config;
      }
      // extraSpecialArgs host;
      modules = [
        ./home-manager.nix
        {
          home = {
            username = user;
            homeDirectory = account.home;
          };
        }
      ]
      ++ modules host;
    };
in
builtins.listToAttrs (
  map (host: {
    name = "${user}@${host}";
    value = home host;
  }) (builtins.attrNames systems)
)
