# The tools for working on sealift: `nix develop`, then `scripts/test`.
{ pkgs }:
pkgs.mkShell {
  packages = with pkgs; [
    age
    busybox
    cargo
    cargo-deny
    clippy
    deadnix
    git
    jq
    nixfmt
    openssh
    rustc
    rustfmt
    shellcheck
    statix
    strace
  ];
}
