# Jay's home on nixos-ripper, where the large programs are.
{ pkgs, ... }:
{
  imports = [ ./common.nix ];

  home.packages = [
    pkgs.android-studio
    pkgs.libreoffice
  ];
}
