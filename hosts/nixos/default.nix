# The desktop that is always on. Gitea and Wallabag run here.
# A NixOS module. Which secrets this machine receives is said in recipients.toml, and nowhere else.
{
  imports = [ ./hardware-configuration.nix ];

  networking.hostName = "nixos";
  system.stateVersion = "25.11";

  fleet = {
    desktop.enable = true;
    amdGpu.enable = true;
    services = {
      gitea.enable = true;
      ollama.enable = true;
      syncthing.enable = true;
      wallabag.enable = true;
    };
  };
}
