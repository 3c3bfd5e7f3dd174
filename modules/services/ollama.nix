# Language models on the graphics card.
{
  config,
  lib,
  pkgs,
  ...
}:
{
  options.fleet.services.ollama.enable = lib.mkEnableOption "Ollama";

  config = lib.mkIf config.fleet.services.ollama.enable {
    services.ollama = {
      enable = true;
      package = if config.fleet.amdGpu.enable then pkgs.ollama-rocm else pkgs.ollama;
      rocmOverrideGfx = config.fleet.amdGpu.gfxVersion;
    };
  };
}
