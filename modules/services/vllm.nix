# vLLM, which NixOS has no module for: its container.
{ config, lib, ... }:
let
  cfg = config.fleet.services.vllm;
in
{
  options.fleet.services.vllm = {
    enable = lib.mkEnableOption "vLLM";
    model = lib.mkOption {
      type = lib.types.str;
      default = "Qwen/Qwen2.5-7B-Instruct";
      description = "The model that it serves.";
    };
  };

  config = lib.mkIf cfg.enable {
    virtualisation.oci-containers.containers.vllm = {
      image = "docker.io/rocm/vllm:latest";
      cmd = [
        "vllm"
        "serve"
        cfg.model
      ];
      ports = [ "127.0.0.1:8000:8000" ];
      volumes = [ "vllm-models:/root/.cache/huggingface" ];
      environment = lib.mkIf (config.fleet.amdGpu.gfxVersion != null) {
        HSA_OVERRIDE_GFX_VERSION = config.fleet.amdGpu.gfxVersion;
      };
      devices = [
        "/dev/kfd"
        "/dev/dri"
      ];
    };
  };
}
