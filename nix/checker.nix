# The program that checks a manifest during a build: the machine's own if the builder can run it, else one for the
# builder's platform.
{ pkgs, program }:
if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
  program
else
  let
    inherit (pkgs) buildPackages;
    package = buildPackages.sealift-host or (buildPackages.callPackage ./package.nix { }).host;
  in
  "${package}/bin/sealift-host"
