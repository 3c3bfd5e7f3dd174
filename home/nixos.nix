# Jay's home on nixos.
{
  imports = [ ./common.nix ];
}
