# The program. With `withKeyring = false` it is what hosts run as root: without the OS keyring and its D-Bus stack.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  withKeyring ? true,
}:
let
  inherit (lib) fileset;
  manifest = fromTOML (builtins.readFile ../Cargo.toml);
in
rustPlatform.buildRustPackage {
  pname = if withKeyring then "sealift" else "sealift-host";
  inherit (manifest.package) version;

  # Only what is compiled: an edit of a document builds nothing anew.
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

  buildNoDefaultFeatures = !withKeyring;
  # The library's own tests. The others want git, age, sshd and mounts of their own: `scripts/test`.
  cargoTestFlags = [ "--lib" ];

  nativeBuildInputs = [ installShellFiles ];
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
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
    platforms = lib.platforms.linux ++ lib.optionals withKeyring lib.platforms.darwin;
  };
}
