# Programs that home-manager sets up, with their hooks in every shell.
{
  programs = {
    home-manager.enable = true;
    direnv = {
      enable = true;
      nix-direnv.enable = true;
    };
    fzf.enable = true;
    helix = {
      enable = true;
      defaultEditor = true;
      settings.editor = {
        line-number = "relative";
        cursor-shape.insert = "bar";
      };
    };
    starship.enable = true;
    yazi = {
      enable = true;
      # `y` starts it, and leaves the shell in the folder that was gone to.
      shellWrapperName = "y";
    };
  };
}
