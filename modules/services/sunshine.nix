# The desktop, streamed to other screens.
{ config, lib, ... }:
{
  options.fleet.services.sunshine.enable = lib.mkEnableOption "Sunshine";

  config = lib.mkIf config.fleet.services.sunshine.enable {
    services.sunshine = {
      enable = true;
      autoStart = true;
      capSysAdmin = true;
      openFirewall = true;
    };
  };
}
