# What every shell starts with. EDITOR is helix's, see ../programs.nix.
{
  home.sessionPath = [
    "$HOME/.local/bin"
    "$HOME/.cargo/bin"
  ];
}
