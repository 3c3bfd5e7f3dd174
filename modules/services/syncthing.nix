# Folders that all machines share. Key and certificate say together which device a machine is: one of each for each.
{ config, lib, ... }:
{
  options.fleet.services.syncthing.enable = lib.mkEnableOption "Syncthing";

  config = lib.mkIf config.fleet.services.syncthing.enable {
    services.syncthing = {
      enable = true;
      cert = config.sealift.secrets.syncthing-cert.path;
      key = config.sealift.secrets.syncthing-key.path;
      openDefaultPorts = true;
    };
  };
}
