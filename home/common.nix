# Jay's home on every machine.
{ osConfig, ... }:
{
  imports = [
    ./modules/packages.nix
    ./modules/programs.nix
    ./modules/shells/aliases.nix
    ./modules/shells/zsh.nix
  ];

  home.stateVersion = "25.11";

  # The signing key is delivered to this machine as a file of jay's; git is told where it lies, never what it is.
  home.file.".gitconfig".text = builtins.readFile ../dotfiles/gitconfig + ''

    [user]
    	signingkey = ${osConfig.sealift.secrets."ssh-keys/jay-signing".path}
  '';
  home.file.".bashrc".source = ../dotfiles/bashconfig;
}
