# What is taken from nixpkgs otherwise than it is: pinned packages, and those that are unfree or insecure. The one place for
# it, by name; homes have the packages of their machine.
{ config, lib, ... }:
let
  cfg = config.fleet.nixpkgs;
  names =
    description:
    lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      inherit description;
    };
in
{
  options.fleet.nixpkgs = {
    unfree = names "Unfree packages that may be used, as lib.getName says them.";
    insecure = names "Packages with known faults that may be used, as name-version: a newer one is asked about again.";
  };

  config = {
    fleet.nixpkgs = {
      unfree = [ "android-studio-stable" ];
      # Write down beside each why it is needed, and what it waits for.
      insecure = [ ];
    };

    nixpkgs = {
      overlays = [ (import ../overlays/pins.nix) ];
      config = {
        allowUnfreePredicate = package: lib.elem (lib.getName package) cfg.unfree;
        permittedInsecurePackages = cfg.insecure;
      };
    };
  };
}
