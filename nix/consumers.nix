# The services that use secrets: they start after these are delivered, and get credentials where that was asked for.
{ config, lib, ... }:
let
  cfg = config.sealift;

  of =
    install: one:
    lib.mapAttrsToList (name: unit: {
      ${lib.removeSuffix ".service" name} = {
        wants = [ install ];
        after = [ install ];
        serviceConfig = lib.mkIf (unit.credential != null) {
          LoadCredential = [ "${unit.credential}:${one.path}" ];
        };
      };
    }) (lib.filterAttrs (name: _: lib.hasSuffix ".service" name) one.units);

  ofSecret =
    secret:
    of (
      if secret.needed_for_users then "sealift-install-users.service" else "sealift-install.service"
    ) secret;
in
{
  systemd.services = lib.mkMerge (
    lib.concatMap ofSecret (builtins.attrValues cfg.internal.delivered)
    ++ lib.concatMap (of "sealift-install.service") (builtins.attrValues cfg.templates)
  );
}
