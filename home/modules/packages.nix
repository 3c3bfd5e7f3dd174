# Programs for every day.
{ pkgs, ... }:
{
  home.packages = with pkgs; [
    age
    espup
    fd
    htop
    jq
    ripgrep
    tree
  ];
}
