# The small laptop.
# A NixOS module. Which secrets this machine receives is said in recipients.toml, and nowhere else.
{
  networking.hostName = "framework-13";
  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "25.11";

  users.users.jay = {
    isNormalUser = true;
    extraGroups = [ "wheel" ];
  };

  networking.wireguard.interfaces.wg0 = {
    ips = [ "10.44.0.3/24" ];
    privateKeyFile = "/run/sealift/wireguard-key";
  };

  services.syncthing = {
    enable = true;
    key = "/run/sealift/syncthing-key";
  };

  networking.networkmanager.enable = true;
  services.fwupd.enable = true;
}
