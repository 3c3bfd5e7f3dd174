# Both the outputs for other flakes (modules, packages, lib) and the reference fleet in hosts/. `lib`, the modules and
# the template need no input; inputs are evaluated only when something of them is used.
{
  description = "Carries a NixOS fleet's secrets and its deploys";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # Only the reference fleet uses it. A flake that uses sealift may set inputs.home-manager.follows = "".
    home-manager = {
      url = "github:nix-community/home-manager/release-26.05";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      home-manager,
    }:
    let
      lib = import ./nix/lib.nix;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      each =
        make:
        builtins.listToAttrs (
          map (system: {
            name = system;
            value = make nixpkgs.legacyPackages.${system};
          }) systems
        );

      # The home-manager modules of jay's home on a machine.
      homeOf =
        host:
        let
          own = ./home + "/${host}.nix";
        in
        [ (if builtins.pathExists own then own else ./home/common.nix) ];
    in
    {
      inherit lib;

      nixosModules.default = ./nix/module.nix;
      homeManagerModules.default = ./nix/home-manager.nix;
      overlays.default = import ./nix/overlay.nix;

      templates.default = {
        path = ./nix/template;
        description = "A fleet whose secrets and deploys sealift carries";
        welcomeText = ''
          Next: `git init && git add -A`, `sealift init`, `sealift identity new --admin YOU`, and for each machine
          `sealift host add NAME --key-file KEY.pub` with a folder hosts/NAME.
        '';
      };

      packages = each (pkgs: rec {
        sealift = pkgs.callPackage ./nix/package.nix { };
        sealift-host = sealift.host;
        default = sealift;
      });

      apps = each (pkgs: {
        default = {
          type = "app";
          program = "${self.packages.${pkgs.stdenv.hostPlatform.system}.default}/bin/sealift";
          meta.description = "Carries a NixOS fleet's secrets and its deploys";
        };
      });

      devShells = each (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs; };
      });

      checks = each (pkgs: import ./nix/checks.nix { inherit pkgs self; });

      formatter = each (pkgs: pkgs.nixfmt);

      # The reference fleet: a machine for each folder of hosts/.
      nixosConfigurations = lib.mkFleet {
        inherit nixpkgs;
        fleet = ./.;
        modules = [
          ./modules/common.nix
          home-manager.nixosModules.home-manager
          { home-manager.sharedModules = [ ./nix/home-manager.nix ]; }
        ];
        perHost = host: [
          (
            { config, lib, ... }:
            {
              home-manager.users = lib.mkIf (!config.fleet.home.standalone) { jay.imports = homeOf host; };
            }
          )
        ];
      };

      # The same homes separately: `home-manager switch --flake .#jay@HOST`. A deploy switches one after its system if
      # the system does not include it: `fleet.home.standalone`.
      homeConfigurations = lib.mkHomes {
        inherit home-manager;
        systems = self.nixosConfigurations;
        user = "jay";
        modules = homeOf;
        extraSpecialArgs = host: { hostName = host; };
      };
    };
}
