# The private network of the machines. Each has a key of its own; the public halves lie beside the sealed ones, so that
# a new machine is everybody's peer without being named here.
{ config, lib, ... }:
let
  cfg = config.fleet.wireguard;
  peers = removeAttrs config.sealift.public.wireguard-key [ config.sealift.host ];
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

  config = {
    networking.wireguard.interfaces.wg0 = {
      ips = [ "${cfg.addresses.${config.sealift.host}}/24" ];
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
