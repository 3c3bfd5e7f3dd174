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
        # An instance has its unit in the template: a file of its own name would take its place, and start nothing.
        overrideStrategy = lib.mkIf (unit.fromPackage || lib.hasInfix "@" name) (lib.mkDefault "asDropin");
      };
    }) (lib.filterAttrs (name: _: lib.hasSuffix ".service" name) one.units);

  ofSecret =
    secret:
    of (
      if secret.needed_for_users then "sealift-install-users.service" else "sealift-install.service"
    ) secret;
  used = builtins.filter (one: one.units != { });
in
{
  systemd.services = lib.mkMerge (
    lib.concatMap ofSecret (used (map (name: cfg.internal.delivered.${name}) cfg.internal.special))
    ++ lib.concatMap (of "sealift-install.service") (used (builtins.attrValues cfg.templates))
  );
}
