# One machine; the folder is named as the machine. Its hardware: nixos-generate-config --show-hardware-config
{
  # imports = [ ./hardware-configuration.nix ];

  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "26.05";
  services.openssh.enable = true;

  # A secret that recipients.toml gives to this machine is there as a path:
  # services.gitea-actions-runner.instances.main.tokenFile = config.sealift.secrets.gitea-runner-token.path;
}
