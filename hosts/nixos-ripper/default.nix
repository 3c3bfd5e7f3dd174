# The workstation: a Threadripper, which also runs the jobs of the Gitea server.
# A NixOS module. Which secrets this machine receives is said in recipients.toml, and nowhere else.
{
  networking.hostName = "nixos-ripper";
  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "25.11";

  users.users.jay = {
    isNormalUser = true;
    extraGroups = [ "wheel" ];
  };

  networking.wireguard.interfaces.wg0 = {
    ips = [ "10.44.0.1/24" ];
    privateKeyFile = "/run/sealift/wireguard-key";
  };

  services.syncthing = {
    enable = true;
    key = "/run/sealift/syncthing-key";
  };

  services.gitea-actions-runner.instances.main = {
    enable = true;
    name = "nixos-ripper";
    url = "https://gitea.lan";
    tokenFile = "/run/sealift/gitea-runner-token";
    labels = [ "nixos:host" ];
  };
}
