# The workstation: a Threadripper, which also runs the jobs of the Gitea server.
# A NixOS module. Which secrets this machine receives is said in recipients.toml, and nowhere else.
{
  imports = [ ./hardware-configuration.nix ];

  networking.hostName = "nixos-ripper";
  system.stateVersion = "25.11";

  fleet = {
    desktop.enable = true;
    amdGpu.enable = true;
    services = {
      gitea.runner.enable = true;
      ollama.enable = false;
      retroarch.enable = true;
      sunshine.enable = true;
      syncthing.enable = true;
      vllm.enable = true;
    };
  };
}
