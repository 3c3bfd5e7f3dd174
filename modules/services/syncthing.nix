# Folders that all machines share. The key says which device this is.
{ config, lib, ... }:
{
  options.fleet.services.syncthing.enable = lib.mkEnableOption "Syncthing";

  config = lib.mkIf config.fleet.services.syncthing.enable {
    services.syncthing = {
      enable = true;
      key = config.sealift.secrets.syncthing-key.path;
      openDefaultPorts = true;
    };
  };
}
