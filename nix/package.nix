# The programs: sealift, and as its `host` sealift-host, which hosts run as root. The first deploy to a machine brings
# the sealift-host next to sealift.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
}:
let
  inherit (lib) fileset;
  manifest = fromTOML (builtins.readFile ../Cargo.toml);

  common = {
    inherit (manifest.package) version;
    # Only what is compiled: editing a document rebuilds nothing.
    src = fileset.toSource {
      root = ../.;
      fileset = fileset.unions [
        ../.cargo/sealift-host.toml
        ../Cargo.lock
        ../Cargo.toml
        ../data
        ../src
      ];
    };
    cargoLock.lockFile = ../Cargo.lock;
    # Cargo.toml names the test program, whose files are not included.
    postPatch = ''
      mkdir tests
      echo 'fn main() {}' > tests/main.rs
    '';
    buildType = "dist";
  };
  meta = {
    inherit (manifest.package) description;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    platforms = lib.platforms.linux;
  };

  # A separate build: it is small, and a machine that only runs it builds nothing else.
  host = rustPlatform.buildRustPackage (
    common
    // {
      pname = "sealift-host";
      cargoBuildFlags = [
        "--bin=sealift-host"
        "--config=.cargo/sealift-host.toml"
      ];
      doCheck = false;
      meta = meta // {
        mainProgram = "sealift-host";
      };
    }
  );
in
rustPlatform.buildRustPackage (
  common
  // {
    pname = "sealift";
    cargoBuildFlags = [ "--bin=sealift" ];
    # Only the library's own tests. The others need git, age, sshd and mounts: `scripts/test`.
    cargoTestFlags = [ "--lib" ];

    nativeBuildInputs = [ installShellFiles ];
    postInstall = ''
      ln -s ${host}/bin/sealift-host $out/bin/
    ''
    + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
      $out/bin/sealift man --out man
      installManPage man/*.1
      for shell in bash fish zsh; do
        $out/bin/sealift completions $shell > sealift.$shell
        installShellCompletion --$shell sealift.$shell
      done
    '';

    passthru = { inherit host; };
    meta = meta // {
      mainProgram = "sealift";
    };
  }
)
