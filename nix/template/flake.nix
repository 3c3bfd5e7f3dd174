# A fleet. To add a machine: a folder in hosts/, and `sealift host add`. This file stays as it is.
{
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    sealift = {
      # The location of sealift's repository: github:…, git+https://… or a path.
      url = "git+https://example.org/sealift";
      inputs.nixpkgs.follows = "nixpkgs";
      inputs.home-manager.follows = "";
    };
  };

  outputs =
    { nixpkgs, sealift, ... }:
    {
      nixosConfigurations = sealift.lib.mkFleet {
        inherit nixpkgs;
        fleet = ./.;
        # Modules of all machines.
        modules = [ ];
      };
    };
}
