# Jay's home on framework-13.
{
  imports = [ ./common.nix ];
}
