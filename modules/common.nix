# What all machines have in common.
{ lib, ... }:
{
  imports = [
    ./amd-gpu.nix
    ./desktop.nix
    ./home.nix
    ./nixpkgs.nix
    ./users.nix
    ./wireguard.nix
    ./services/gitea.nix
    ./services/ollama.nix
    ./services/retroarch.nix
    ./services/sunshine.nix
    ./services/syncthing.nix
    ./services/vllm.nix
    ./services/wallabag.nix
  ];

  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
  # Users who may become root may bring systems that this machine has not built itself.
  nix.settings.trusted-users = [ "@wheel" ];

  boot.loader.systemd-boot.enable = true;
  boot.loader.efi.canTouchEfiVariables = true;
  hardware.enableRedistributableFirmware = true;
  networking.networkmanager.enable = true;
  services.fwupd.enable = true;

  time.timeZone = lib.mkDefault "Europe/Berlin";
  i18n.defaultLocale = lib.mkDefault "en_US.UTF-8";

  # The machine's host key is what its secrets are sealed to, and what a deploy expects to be shown.
  services.openssh = {
    enable = true;
    settings.PasswordAuthentication = false;
  };

  # What a deploy starts here, without a password; see docs/deploy.md.
  security.sudo.extraRules = [
    {
      users = [ "jay" ];
      commands = [
        {
          command = "/run/current-system/etc/sealift/host host-run";
          options = [ "NOPASSWD" ];
        }
      ];
    }
  ];
}
