# bash, where somebody starts it.
{
  programs.bash = {
    enable = true;
    initExtra = builtins.readFile ../../../dotfiles/bashconfig + builtins.readFile ../../../dotfiles/functions;
  };
}
