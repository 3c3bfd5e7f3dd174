# The programs: `out` has sealift, `host` has sealift-host, which is what hosts run as root. The first deploy to a machine
# brings the one that lies beside sealift.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
}:
let
  inherit (lib) fileset;
  manifest = fromTOML (builtins.readFile ../Cargo.toml);
in
rustPlatform.buildRustPackage {
  pname = "sealift";
  inherit (manifest.package) version;

  # Only what is compiled: an edit of a document builds nothing again.
  src = fileset.toSource {
    root = ../.;
    fileset = fileset.unions [
      ../Cargo.lock
      ../Cargo.toml
      ../data
      ../src
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;
  # Cargo.toml names the test program, whose files are not here.
  postPatch = ''
    mkdir tests
    echo 'fn main() {}' > tests/main.rs
  '';

  outputs = [
    "out"
    "host"
  ];
  buildType = "dist";
  # The library's own tests. The others want git, age, sshd and mounts of their own: `scripts/test`.
  cargoTestFlags = [ "--lib" ];

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    mkdir -p $host/bin
    mv $out/bin/sealift-host $host/bin/
    ln -s $host/bin/sealift-host $out/bin/
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/sealift man --out man
    installManPage man/*.1
    for shell in bash fish zsh; do
      $out/bin/sealift completions $shell > sealift.$shell
      installShellCompletion --$shell sealift.$shell
    done
  '';

  meta = {
    inherit (manifest.package) description;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = "sealift";
    platforms = lib.platforms.linux ++ lib.platforms.darwin;
  };
}
