# Passwords of users from sealed files, for each of the three ways in which NixOS creates users. Never run where this is
# developed: it needs nixpkgs and KVM. `nix build .#checks.‹system›.users`
{
  mkpasswd,
  testers,
  callPackage,
  stdenv,
  self,
}:
let
  packages = self.packages.${stdenv.hostPlatform.system};
  sealed = callPackage ./fleet.nix {
    sealift = packages.default;
  };
  # yescrypt of "correct horse", made by mkpasswd when the fleet is built.
  fleet = sealed "machine" ''
    ${mkpasswd}/bin/mkpasswd 'correct horse' |
      sealift seal jay-password --hosts machine --stdin
    cat >> recipients.toml <<'END'
    needed_for_users = true
    END
    sealift check
  '';

  machine =
    extra:
    { config, ... }:
    {
      imports = [
        (import ./common.nix { inherit self fleet; })
        extra
      ];
      users.mutableUsers = false;
      users.users.jay = {
        isNormalUser = true;
        hashedPasswordFile = config.sealift.secrets.jay-password.path;
      };
    };
in
testers.runNixOSTest {
  name = "sealift-users";

  nodes = {
    # The key that this test puts in place must exist first; on a real machine it always does.
    classic = machine { system.activationScripts.sealift-users.deps = [ "host-key" ]; };
    sysusers = machine {
      systemd.sysusers.enable = true;
      system.etc.overlay.enable = true;
      boot.initrd.systemd.enable = true;
    };
    userborn = machine { services.userborn.enable = true; };
  };

  testScript = ''
    start_all()
    for machine in [classic, sysusers, userborn]:
        machine.wait_for_unit("multi-user.target")
        with subtest(f"{machine.name}: the password is that of the sealed file"):
            delivered = machine.succeed("cat /run/sealift-users/jay-password").strip()
            assert f"jay:{delivered}:" in machine.succeed("cat /etc/shadow")
            assert machine.succeed("stat -c '%a %U' /run/sealift-users/jay-password").strip() == "400 root"
        with subtest(f"{machine.name}: it lets jay in"):
            machine.wait_until_tty_matches("1", "login: ")
            machine.send_chars("jay\n")
            machine.wait_until_tty_matches("1", "Password: ")
            machine.send_chars("correct horse\n")
            machine.wait_until_succeeds("pgrep -u jay bash")
  '';
}
