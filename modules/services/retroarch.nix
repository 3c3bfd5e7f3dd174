# Old games.
{
  config,
  lib,
  pkgs,
  ...
}:
{
  options.fleet.services.retroarch.enable = lib.mkEnableOption "RetroArch";

  config = lib.mkIf config.fleet.services.retroarch.enable {
    environment.systemPackages = [
      (pkgs.retroarch.withCores (cores: [
        cores.mgba
        cores.nestopia
      ]))
    ];
  };
}
