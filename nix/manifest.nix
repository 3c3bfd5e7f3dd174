# The manifest: what one host installs, in the format that `sealift install` reads (docs/format.md). Pure. `sealift
# manifest` makes the same one; a test compares both byte for byte.
let
  inherit (builtins) attrNames attrValues mapAttrs;

  entry = name: secret: {
    inherit name;
    inherit (secret)
      allow_unsealed
      file
      group
      mode
      needed_for_users
      owner
      path
      reload
      restart
      sealed_as
      shape
      ;
  };

  template = name: one: {
    inherit name;
    inherit (one)
      content
      group
      mode
      owner
      path
      reload
      restart
      ;
  };
in
{
  inherit entry;

  # The default key files of a host.
  identities = [
    "/etc/ssh/ssh_host_ed25519_key"
    "/var/lib/sealift/identity"
  ];

  make =
    {
      host,
      identities,
      keepGenerations,
      secrets,
      # Entries that were computed before, by name.
      entries ? { },
      templates ? { },
    }:
    {
      # The lowest version that can express it: without templates, every sealift can read it.
      version = if templates == { } then 1 else 2;
      inherit host identities;
      keep_generations = keepGenerations;
      # Sorted by name.
      secrets = attrValues (
        mapAttrs entry (removeAttrs secrets (attrNames entries)) // builtins.intersectAttrs secrets entries
      );
    }
    // (if templates == { } then { } else { templates = attrValues (mapAttrs template templates); });
}
