# The private network of the machines. Each has a key of its own; the public halves lie beside the sealed ones. A machine is
# on it once it has an address here: one that has just joined the fleet is nobody's peer until then.
{ config, lib, ... }:
let
  cfg = config.fleet.wireguard;
  inherit (config.sealift) host;
  keys = config.sealift.public.wireguard-key or { };
  peers = removeAttrs (builtins.intersectAttrs cfg.addresses keys) [ host ];
in
{
  options.fleet.wireguard.addresses = lib.mkOption {
    type = lib.types.attrsOf lib.types.str;
    description = "The address of each machine on it.";
    default = {
      nixos-ripper = "10.44.0.1";
      nixos = "10.44.0.2";
      framework-13 = "10.44.0.3";
      framework-16 = "10.44.0.4";
    };
  };

  config = lib.mkIf (cfg.addresses ? ${host}) {
    networking.wireguard.interfaces.wg0 = {
      ips = [ "${cfg.addresses.${host}}/24" ];
      listenPort = 51820;
      privateKeyFile = config.sealift.secrets.wireguard-key.path;
      peers = lib.mapAttrsToList (name: publicKey: {
        inherit name publicKey;
        allowedIPs = [ "${cfg.addresses.${name}}/32" ];
        endpoint = "${name}.lan:51820";
        # A machine that is asleep is no reason to fail.
        dynamicEndpointRefreshSeconds = 300;
      }) peers;
    };
    networking.firewall.allowedUDPPorts = [ 51820 ];
    sealift.secrets.wireguard-key.units = [ "wireguard-wg0.service" ];
  };
}
