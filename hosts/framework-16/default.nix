# The large laptop. ROCm does not know its graphics card, and is given one that it knows.
# A NixOS module. Which secrets this machine receives is said in recipients.toml, and nowhere else.
{
  imports = [ ./hardware-configuration.nix ];

  networking.hostName = "framework-16";
  system.stateVersion = "25.11";

  fleet = {
    desktop.enable = true;
    amdGpu = {
      enable = true;
      gfxVersion = "10.3.0";
    };
    services = {
      ollama.enable = true;
      retroarch.enable = true;
      syncthing.enable = true;
    };
  };

  services.power-profiles-daemon.enable = true;
}
