# Programs for every day.
{ pkgs, ... }:
{
  home.packages = with pkgs; [
    age
    fd
    htop
    jq
    ripgrep
    tree
  ];
}
