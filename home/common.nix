# Jay's home on every machine.
{
  imports = [
    ./modules/git.nix
    ./modules/packages.nix
    ./modules/programs.nix
    ./modules/shells/aliases.nix
    ./modules/shells/bash.nix
    ./modules/shells/environment.nix
    ./modules/shells/zsh.nix
  ];

  home.stateVersion = "25.11";
}
