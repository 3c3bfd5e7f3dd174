# An AMD graphics card, also for computing with ROCm.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.fleet.amdGpu;
in
{
  options.fleet.amdGpu = {
    enable = lib.mkEnableOption "an AMD graphics card";
    gfxVersion = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "10.3.0";
      description = "What the card calls itself to ROCm, where ROCm does not know it.";
    };
  };

  config = lib.mkIf cfg.enable {
    hardware.graphics = {
      enable = true;
      enable32Bit = true;
    };
    hardware.amdgpu.opencl.enable = true;
    environment.systemPackages = [ pkgs.rocmPackages.rocminfo ];
    environment.variables = lib.mkIf (cfg.gfxVersion != null) {
      HSA_OVERRIDE_GFX_VERSION = cfg.gfxVersion;
    };
  };
}
