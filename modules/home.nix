# Jay's home. It comes with the system: one switch, and one way back. A machine can leave it out, and have it switched by
# itself: by `deploy` after the system, or by jay, who needs no root for it: `home-manager switch --flake .#jay@HOST`.
{ config, lib, ... }:
{
  options.fleet.home.standalone = lib.mkEnableOption "a home that is no part of the system";

  config.home-manager = {
    useGlobalPkgs = true;
    useUserPackages = true;
    # A file that is in the way is moved aside, not a failed switch.
    backupFileExtension = "before-home-manager";
    extraSpecialArgs.hostName = config.networking.hostName;
  };
}
