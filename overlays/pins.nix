# Packages that stay where they are while nixpkgs goes on, each with its reason. A version that nixpkgs has no more is taken
# from an older one: an input of the flake, or `(import (fetchTarball { url = …; sha256 = …; }) { inherit (final) system; }).NAME`.
final: _: {
  # Another major version reads no former data: the move is made by hand (pg_upgrade), and then here.
  postgresql = final.postgresql_17;
}
