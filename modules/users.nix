# The one person. The password is the sealed one on every machine; there is no other, and root has none.
{ config, pkgs, ... }:
{
  programs.zsh.enable = true;

  users.mutableUsers = false;
  users.users.jay = {
    isNormalUser = true;
    description = "Jay";
    extraGroups = [
      "networkmanager"
      "render"
      "video"
      "wheel"
    ];
    shell = pkgs.zsh;
    # The output of mkpasswd, opened before users are made.
    hashedPasswordFile = config.sealift.secrets.jay-password.path;
    # The public half of the key that jay logs in and deploys with; the private one is no secret of a machine.
    openssh.authorizedKeys.keys = [
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPmOvZME8WW3F/803hKHyZcEoD0FrefPR0mYyBeyYoWd jay@fleet"
    ];
  };
}
