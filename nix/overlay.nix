# Adds `sealift`, and `sealift-host`, which the NixOS module installs.
final: _: {
  sealift = final.callPackage ./package.nix { };
  sealift-host = final.sealift.host;
}
