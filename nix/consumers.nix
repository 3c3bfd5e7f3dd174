# The services that use secrets start after those are delivered, and get credentials where requested.
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
        # An instance's unit is the template: a file of its own name would replace it and start nothing.
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
