# Jay's home on framework-16.
{ osConfig, ... }:
{
  imports = [ ./common.nix ];

  # For programs that are not started from a login shell.
  systemd.user.sessionVariables = {
    HSA_OVERRIDE_GFX_VERSION = osConfig.fleet.amdGpu.gfxVersion;
  };
}
