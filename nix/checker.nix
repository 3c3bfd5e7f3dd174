# The program that looks at a manifest while a system is built: the machine's own where the builder can run it, else one
# of the builder's kind.
{ pkgs, program }:
if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
  program
else
  let
    inherit (pkgs) buildPackages;
    package = buildPackages.sealift-host or (buildPackages.callPackage ./package.nix { }).host;
  in
  "${package}/bin/sealift-host"
