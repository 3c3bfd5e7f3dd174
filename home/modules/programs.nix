# Programs that home-manager sets up.
{
  programs = {
    home-manager.enable = true;
    direnv = {
      enable = true;
      nix-direnv.enable = true;
    };
    fzf.enable = true;
    git.enable = false; # ~/.gitconfig is ours, see common.nix
  };
}
