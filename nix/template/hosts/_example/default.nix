# One machine; the folder is named as the machine, and this one is none, as its name starts with _:
# `git mv hosts/_example hosts/NAME`. `sealift host add --ssh` writes such a folder by itself, with the hardware.
{
  # Its disks and its boot loader: nixos-generate-config --show-hardware-config
  # imports = [ ./hardware-configuration.nix ];
  # boot.loader.systemd-boot.enable = true;

  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "26.05";
  services.openssh.enable = true;

  # A secret that recipients.toml gives to this machine is there as a path:
  # services.gitea-actions-runner.instances.main.tokenFile = config.sealift.secrets.gitea-runner-token.path;
}
