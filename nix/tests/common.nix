# What the test machines share: the module, and the host key of their fleet, put in place as if by the installation.
{ self, fleet }:
{ pkgs, ... }:
{
  imports = [ self.nixosModules.default ];
  sealift = {
    fleet = "${fleet}";
    host = "machine";
    package = self.packages.${pkgs.stdenv.hostPlatform.system}.sealift-host;
    identityPaths = [ "/etc/ssh/ssh_host_ed25519_key" ];
  };
  system.activationScripts.host-key = {
    deps = [ "specialfs" ];
    text = "install -D -m 0600 ${fleet}/host /etc/ssh/ssh_host_ed25519_key";
  };
  environment.systemPackages = [ self.packages.${pkgs.stdenv.hostPlatform.system}.sealift ];
}
