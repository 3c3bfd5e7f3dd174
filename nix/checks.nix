# `nix flake check`: the packages, clippy, the formatters, and machines that boot. The machines need nixpkgs, KVM and a
# daemon; `scripts/test nix` runs what needs none of these.
{
  pkgs,
  self,
}:
let
  inherit (pkgs) lib;
  package = pkgs.callPackage ./package.nix { };
  files = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.fileFilter (file: file.hasExt "nix") ../.;
  };
in
{
  inherit package;
  inherit (package) host;

  # The same limit as scripts/build-static --check has for the static one, which is larger.
  host-size = pkgs.runCommand "sealift-host-size" { } ''
    size=$(stat -c %s ${package.host}/bin/sealift-host)
    if ((size > 5 << 20)); then
      echo "sealift-host has $size bytes, more than 5 MiB" >&2
      exit 1
    fi
    touch $out
  '';

  clippy = package.overrideAttrs (old: {
    pname = "sealift-clippy";
    nativeBuildInputs = old.nativeBuildInputs ++ [ pkgs.clippy ];
    buildPhase = "cargo clippy --offline --lib --bins -- -D warnings";
    doCheck = false;
    installPhase = "touch $out";
  });

  nix-files =
    pkgs.runCommand "sealift-nix-files"
      {
        nativeBuildInputs = [
          pkgs.deadnix
          pkgs.nixfmt
        ];
      }
      ''
        cd ${files}
        find . -name '*.nix' -exec nixfmt --check {} +
        deadnix --fail --no-lambda-pattern-names .
        touch $out
      '';
}
// lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
  machines = pkgs.callPackage ./tests/machines.nix { inherit self; };
  users = pkgs.callPackage ./tests/users.nix { inherit self; };
}
