# The small laptop.
# A NixOS module. Which secrets this machine receives is said in recipients.toml, and nowhere else.
{
  imports = [ ./hardware-configuration.nix ];

  networking.hostName = "framework-13";
  system.stateVersion = "25.11";

  fleet = {
    desktop.enable = true;
    # Jay's alone to change, without root.
    home.standalone = true;
    amdGpu.enable = true;
    services.syncthing.enable = true;
  };

  services.power-profiles-daemon.enable = true;
}
