# The login shell.
{
  programs.zsh = {
    enable = true;
    autosuggestion.enable = true;
    syntaxHighlighting.enable = true;
    initContent = builtins.readFile ../../../dotfiles/zshconfig + builtins.readFile ../../../dotfiles/functions;
  };
}
