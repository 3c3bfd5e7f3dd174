# A desktop with sound.
{ config, lib, ... }:
{
  options.fleet.desktop.enable = lib.mkEnableOption "a desktop";

  config = lib.mkIf config.fleet.desktop.enable {
    services = {
      displayManager.sddm = {
        enable = true;
        wayland.enable = true;
      };
      desktopManager.plasma6.enable = true;
      pipewire = {
        enable = true;
        pulse.enable = true;
      };
    };
    security.rtkit.enable = true;
  };
}
