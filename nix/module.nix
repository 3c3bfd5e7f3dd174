# The NixOS module: `inputs.sealift.nixosModules.default`. It reads recipients.toml itself, so that a secret is declared
# once. What can be decided by the program is decided there; this only writes the manifest and says when it is installed.
{
  imports = [
    ./options.nix
    ./assertions.nix
    ./install.nix
    ./consumers.nix
  ];
}
