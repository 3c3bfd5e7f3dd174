# The NixOS module: `inputs.sealift.nixosModules.default`. It reads recipients.toml itself, so that a secret is declared
# once. What the program can decide is left to it; this only writes the manifest and decides when it is installed.
{
  imports = [
    ./options.nix
    ./assertions.nix
    ./install.nix
    ./consumers.nix
  ];
}
