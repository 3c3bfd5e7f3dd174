# Boots a machine, switches it, rotates, rolls back, and searches for the values where they must not be. Never run where
# this is developed: it needs nixpkgs and KVM. `nix build .#checks.‹system›.machines`
{
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
  # A word in every value and nowhere else: the positive control finds it in the sealing script.
  poison = "poison-7f3a";
  first = sealed "machine" ''
    printf 'TOKEN=${poison}-one\n' | sealift seal runner-token --hosts machine --shape env:TOKEN --stdin
    printf '${poison}-web' | sealift seal web/password --hosts machine --stdin
  '';
  # The same machine with another value.
  second = callPackage (
    { runCommand, git }:
    runCommand "sealift-test-rotated"
      {
        nativeBuildInputs = [
          git
          packages.default
        ];
      }
      ''
        export HOME=$PWD
        cp -R ${first} fleet
        chmod -R u+w fleet
        cd fleet
        git init --quiet
        git add recipients.toml secrets
        printf 'TOKEN=${poison}-two\n' | sealift rotate runner-token --stdin
        mkdir $out
        cp -R recipients.toml secrets host host.pub jay $out/
      ''
  ) { };
in
testers.runNixOSTest {
  name = "sealift-machines";

  nodes.machine =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    {
      imports = [
        (import ./common.nix {
          inherit self;
          fleet = first;
        })
      ];

      # A real runner, which reads its tokenFile as an EnvironmentFile. There is no server, so it keeps retrying.
      services.gitea-actions-runner.instances.main = {
        enable = true;
        name = "machine";
        url = "http://127.0.0.1:1";
        tokenFile = config.sealift.secrets.runner-token.path;
        labels = [ "native:host" ];
      };
      sealift.secrets.runner-token.units = [ "reader.service" ];
      sealift.secrets."web/password".units."credential.service".credential = "password";
      sealift.templates."web.ini".content = "password=${config.sealift.placeholder."web/password"}\n";

      systemd.services.reader = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          EnvironmentFile = config.sealift.secrets.runner-token.path;
          ExecStart = pkgs.writeShellScript "reader" ''
            printf %s "$TOKEN" | sha256sum > /run/seen
            exec sleep infinity
          '';
        };
      };
      systemd.services.credential = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          DynamicUser = true;
          ExecStart = "${pkgs.coreutils}/bin/sha256sum \${CREDENTIALS_DIRECTORY}/password";
        };
      };

      specialisation.rotated.configuration.sealift.fleet = lib.mkForce "${second}";
      # A manifest that lists what this machine cannot open.
      specialisation.broken.configuration.sealift.identityPaths = lib.mkForce [ "/etc/ssh/nothing" ];
    };

  testScript = ''
    import hashlib

    def seen(value):
        return hashlib.sha256(value.encode()).hexdigest()

    machine.wait_for_unit("multi-user.target")

    with subtest("delivered at boot, for root alone, before services"):
        machine.succeed("systemctl is-active sealift-install.service")
        assert machine.succeed("stat -c '%a %U %G' /run/sealift/runner-token").strip() == "400 root root"
        assert seen("${poison}-one") in machine.succeed("cat /run/seen")
        assert machine.succeed("cat /run/sealift/web.ini") == "password=${poison}-web\n"
        machine.succeed("systemctl is-active credential.service")

    with subtest("the memory is seen from the mount namespace of PID 1"):
        mounts = machine.succeed("cat /proc/1/mountinfo")
        assert " /run/sealift.d " in mounts, mounts
        assert "nodev" in mounts.split(" /run/sealift.d ")[1].split("\n")[0]

    with subtest("the runner got its token from the file"):
        machine.succeed("systemctl cat gitea-runner-main.service | grep -F EnvironmentFile=/run/sealift/runner-token")
        machine.fail("systemctl cat gitea-runner-main.service | grep -F ${poison}")

    with subtest("a switch to another value restarts what uses it, once"):
        pid = machine.succeed("systemctl show -P MainPID reader.service")
        machine.succeed("/run/booted-system/specialisation/rotated/bin/switch-to-configuration test")
        machine.wait_until_succeeds("grep -q " + seen("${poison}-two") + " /run/seen")
        assert pid != machine.succeed("systemctl show -P MainPID reader.service")
        pid = machine.succeed("systemctl show -P MainPID reader.service")
        machine.succeed("/run/booted-system/specialisation/rotated/bin/switch-to-configuration test")
        assert pid == machine.succeed("systemctl show -P MainPID reader.service")

    with subtest("a switch that cannot open everything changes nothing"):
        machine.fail("/run/booted-system/specialisation/broken/bin/switch-to-configuration test")
        machine.succeed("grep -q ${poison}-two /run/sealift/runner-token")

    with subtest("the previous system brings its own secrets back"):
        machine.succeed("/run/booted-system/bin/switch-to-configuration test")
        machine.succeed("grep -q ${poison}-one /run/sealift/runner-token")
        machine.wait_until_succeeds("grep -q " + seen("${poison}-one") + " /run/seen")

    with subtest("no value is in the store of the machine, on its disk or in its journal"):
        closure = machine.succeed("nix-store -qR /run/booted-system").split()
        # What generated the values is not part of the system; if it were, this would find it.
        machine.succeed("grep -rlF ${poison} /run/sealift/")
        machine.fail("grep -rlF ${poison} " + " ".join(closure))
        machine.fail("journalctl --no-pager | grep -F ${poison}")
        machine.fail("grep -rlF ${poison} /etc /var /root /tmp")

    with subtest("after a reboot everything is there again"):
        machine.shutdown()
        machine.start()
        machine.wait_for_unit("multi-user.target")
        assert seen("${poison}-one") in machine.succeed("cat /run/seen")
  '';
}
