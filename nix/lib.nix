# The library for flakes: `inputs.sealift.lib`. Everything here is pure and needs no nixpkgs of its own.
let
  policy = import ./policy.nix;
  manifest = import ./manifest.nix;
  fleet = import ./fleet.nix;

  # The manifest of a host from a fleet's folder, without overrides. `fileOf` returns the path of a sealed file; by
  # default each becomes a separate store path.
  manifestOf =
    {
      fleet,
      host,
      identities ? manifest.identities,
      keepGenerations ? 1,
      fileOf ? policy.fileOf (policy.folder fleet),
    }:
    let
      read = policy.readFleet fleet;
      secrets = builtins.mapAttrs (_: secret: secret // { file = fileOf secret.sealed_as; }) (
        policy.secretsOf read host
      );
    in
    if !(read.hosts ? ${host}) then
      throw "sealift: the fleet has no host ${host}\n  ${policy.known (builtins.attrNames read.hosts)}"
    else
      manifest.make {
        inherit
          host
          identities
          keepGenerations
          secrets
          ;
      };
in
{
  inherit manifestOf;
  inherit (fleet) hostsIn mkFleet moduleFor;
  mkHomes = import ./homes.nix;
  inherit (policy)
    fileOf
    publicOf
    readFleet
    secretsOf
    ;
}
