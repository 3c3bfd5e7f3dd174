# The manifest: what one host installs, in the form that `sealift install` reads (docs/format.md). Pure. `sealift manifest`
# makes the same one; a test holds the two side by side, byte for byte.
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

  # The names of the keys that a host has unless it says otherwise.
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
      # Entries that were made before, by name.
      entries ? { },
      templates ? { },
    }:
    {
      # The lowest version that can say it: what has no templates is read by every sealift.
      version = if templates == { } then 1 else 2;
      inherit host identities;
      keep_generations = keepGenerations;
      # In the order of their names.
      secrets = attrValues (
        mapAttrs entry (removeAttrs secrets (attrNames entries)) // builtins.intersectAttrs secrets entries
      );
    }
    // (if templates == { } then { } else { templates = attrValues (mapAttrs template templates); });
}
