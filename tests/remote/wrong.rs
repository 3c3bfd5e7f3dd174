//! What goes wrong on a host or on the way to it: the previous state is restored, or the operator is informed.

use crate::harness::rig::{Rig, cannot_rig};

#[test]
fn nix_every_failure_of_a_switch_brings_the_former_state_back_there() {
    let Some(rig) = Rig::try_deployed("remote: way back", &["web"]) else { return };
    let before = rig.state("web");
    rig.change(&["web"]);
    for (line, calls, says) in [
        ("test 2", &["test 2", "test 0"][..], "its activation script failed"),
        ("test 4", &["test 4", "test 0"], "units failed"),
        ("test 100", &["test 100", "test 0"], "cannot be activated without a reboot"),
        ("boot 1", &["test 0", "boot 1", "test 0", "boot 0"], "cannot be made the boot default"),
    ] {
        rig.forget_calls("web");
        rig.fail("web", line);
        let run = rig.sealift(&["deploy", "web", "--yes", "--json"]).exits(6).says("rolled back").says(says);
        assert_eq!(run.result()["outcome"], "rolled-back", "{line}");
        assert_eq!(
            (rig.calls("web"), rig.state("web")),
            (calls.iter().map(|call| (*call).to_owned()).collect(), before.clone())
        );
        rig.is_tidy("web");
    }
    assert_eq!(rig.last_record("web")["outcome"], "rolled-back");
    // If the activation of an unchanged system fails, it stays.
    rig.system("web", "{ }");
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    let good = rig.state("web");
    rig.fail("web", "test 4");
    rig.sealift(&["deploy", "web", "--yes"]).exits(6).says("the system is the one that ran before, and stays");
    assert_eq!(rig.state("web"), good);
}

#[test]
fn nix_what_is_no_nixos_is_refused_before_anything_is_done() {
    let Some(rig) = Rig::try_deployed("remote: no NixOS", &["web"]) else { return };
    rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    rig.on("web", &["rm", "/etc/NIXOS"]);
    let (before, record) = (rig.state("web"), rig.last_record("web"));
    for arguments in [&["rollback", "web"][..], &["rollback", "web", "--to", "1"], &["deploy", "web", "--yes"]] {
        rig.sealift(arguments).exits(1).says("is not NixOS");
    }
    assert_eq!((rig.state("web"), rig.last_record("web")), (before, record));
}

/// Installs a journalctl that prints these lines for any unit.
pub fn journal(rig: &Rig, host: &str, lines: &str) {
    rig.install(
        host,
        "journalctl",
        &format!("#!/bin/sh\necho \"$*\" > /var/log/journalctl.log\ncat <<'E'\n{lines}\nE\n"),
    );
}

/// Installs a systemctl that lists these units as failed.
pub fn failing(rig: &Rig, host: &str, units: &[&str]) {
    let lines: Vec<String> = units.iter().map(|unit| format!("echo '{unit} loaded failed failed It'")).collect();
    let answer = format!("#!/bin/sh\ncase $* in *list-units*)\n{}\n;;\nesac\n", lines.join("\n"));
    rig.install(host, "systemctl", &answer);
}

/// The files that runs keep on a host, as text. Only root may read them.
fn kept(rig: &Rig, host: &str) -> String {
    let files = std::fs::read_dir(rig.disk(host, "/var/lib/sealift/deploy")).expect("a folder");
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let file = file.expect("a file");
        let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().expect("there"));
        assert_eq!(mode & 0o077, 0, "{}", file.path().display());
        std::fs::read_to_string(file.path()).expect("text")
    };
    files.map(read).collect()
}

#[test]
fn nix_a_unit_that_failed_is_told_with_the_end_of_its_journal() {
    let Some(rig) = Rig::try_deployed("remote: journal of a failed unit", &["web", "db"]) else { return };
    let value = rig.change(&["web", "db"]);
    let first = rig.sandbox.value("first");
    for host in ["web", "db"] {
        // A service prints its secret: neither the current nor the previous value leaves the host.
        journal(
            &rig,
            host,
            &format!(
                "old 1\nold 2\nold 3\nlogin with {value}\nlogin with {first}\nbind: in use\u{1b}[2J\nasked-for.service: exit 1"
            ),
        );
        std::fs::create_dir_all(rig.disk(host, "/etc/systemctl")).expect("a directory");
        std::fs::write(
            rig.disk(host, "/etc/systemctl/status"),
            format!(
                "\u{25cf} asked-for.service - It\nasked-for[1]: login with {value}\nasked-for[1]: exit\n\
                 Nov 28 22:10:11 {host} systemd[1]: asked-for.service: exit 1\n"
            ),
        )
        .expect("written");
        failing(&rig, host, &["asked-for.service", "other.service"]);
        rig.fail(host, "test 4");
    }
    let run = rig
        .sealift(&["deploy", "web", "--yes"])
        .exits(6)
        .says("units failed: asked-for.service")
        .says("| asked-for.service: bind: in use\\u{1b}[2J")
        .says("| asked-for.service: exit 1")
        .says("(a line with a value of a delivered secret is left out)");
    assert!(!run.stderr.contains("login with") && !run.stderr.contains("old 1"), "{}", run.stderr);
    // The switch prints the end of the journal too, which is shown once. Its other output about the unit is shown as
    // well.
    assert_eq!(run.stderr.matches("exit 1").count(), 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("\u{25cf} asked-for.service - It") && run.stderr.contains("asked-for[1]: exit\n"),
        "{}",
        run.stderr
    );
    let asked = rig.text("web/disk/var/log/journalctl.log");
    assert!(asked.contains("--unit=asked-for.service"), "{asked}");
    // The record contains no journal lines: others than root can read it.
    let record = rig.last_record("web").to_string();
    assert!(record.contains("units failed: asked-for.service") && !record.contains("bind: in use"), "{record}");
    let kept = kept(&rig, "web");
    assert!(kept.contains("units failed: asked-for.service") && !kept.contains("bind: in use"), "{kept}");

    // Several hosts: each is named once in the table, and once with their shared reason.
    rig.fail("web", "test 4");
    let run = rig.sealift(&["deploy", "--all", "--yes"]).exits(6).says("  - db, web: units failed: asked-for.service");
    assert!(!run.stderr.contains("the deploy failed and was rolled back"), "{}", run.stderr);
    assert!(!run.text().contains("deploy again"), "{}", run.text());
    assert_eq!(run.stderr.matches("help:").count(), 1, "{}", run.stderr);
    // Remove the stand-ins: no value may be left on a disk.
    for host in ["web", "db"] {
        rig.on(host, &["rm", "/usr/bin/journalctl", "/tmp/program", "/etc/systemctl/status"]);
    }
}

#[test]
fn nix_what_a_switch_prints_decides_nothing_and_shows_no_value() {
    let Some(rig) = Rig::try_deployed("remote: what a switch prints", &["web"]) else { return };
    let before = rig.state("web");
    let value = rig.change(&["web"]);
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    journal(&rig, "web", "from a journal");
    failing(&rig, "web", &["asked-for.service"]);
    std::fs::create_dir_all(rig.disk("web", "/etc/systemctl")).expect("a directory");
    // It contains the journals of failed units, and text that users make their managers print.
    let printed = format!(
        "Could not acquire lock\nPre-switch check 'x' failed\nwarning: the following units failed: *, sshd.service\n\
         app[1]: {{\"password\": \"{value}\"}}\napp[1]: {hex}\n"
    );
    std::fs::write(rig.disk("web", "/etc/systemctl/status"), printed).expect("written");
    let shows_none = |text: &str| {
        assert!(text.contains("(a line with a value of a delivered secret is left out)"), "{text}");
        assert!(!text.contains(&hex) && !text.contains("app[1]"), "{text}");
    };
    rig.fail("web", "test 4");
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(6).says("rolled back").says("| asked-for.service: from");
    shows_none(&run.stderr);
    assert_eq!(rig.state("web"), before);
    let asked = rig.text("web/disk/var/log/journalctl.log");
    assert!(asked.contains("--unit=asked-for.service"), "{asked}");
    // The rollback prints them too.
    rig.fail("web", "test 2\ntest 0 units\ntest 4");
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(9).says("the previous system: units failed");
    shows_none(&run.stderr);
    shows_none(&kept(&rig, "web"));
    rig.on("web", &["rm", "/etc/systemctl/status"]);
}

#[test]
fn nix_a_unit_that_a_check_wants_is_told_with_the_end_of_its_journal() {
    let Some(rig) = Rig::try_deployed("remote: journal of a checked unit", &["web"]) else { return };
    rig.declare("\n[checks.app]\non = [\"web\"]\nunit = \"app.service\"\n");
    // The stand-in for systemctl prints a file of the system: the unit is active with the first system, but not the
    // second.
    rig.system("web", "{ etc.motd = \"active\\n\"; }");
    rig.commit();
    rig.install("web", "systemctl", "#!/bin/sh\ncase $* in *is-active*) cat /etc/motd ;; esac\n");
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    rig.change(&["web"]);
    journal(&rig, "web", "app: no such table");
    rig.sealift(&["deploy", "web", "--yes", "--settle", "0"])
        .exits(6)
        .says("check app: app.service is not active")
        .says("| app.service: app: no such table");
}

#[test]
fn nix_a_check_that_got_worse_and_a_way_back_that_fails() {
    let Some(rig) = Rig::try_deployed("remote: checks", &["web"]) else { return };
    rig.declare("\n[checks.motd]\non = [\"web\"]\ncommand = [\"sh\", \"-c\", \"! test -e /etc/motd\"]\n");
    let before = rig.state("web");
    rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes", "--settle", "0"]).exits(6).says("check motd");
    assert_eq!(rig.state("web"), before);
    // The rollback fails too: exit 9, with what to do on which machine, and every failure.
    rig.declare("\n[checks.shells]\non = [\"web\"]\ncommand = [\"sh\", \"-c\", \"! test -e /etc/motd\"]\n");
    rig.fail("web", "test 0 units\ntest 4");
    let run = rig.sealift(&["deploy", "web", "--yes", "--settle", "0", "--json"]).exits(9);
    let reason = run.result()["reason"].to_string();
    let mut run = run.says("the way back failed too").says("`sealift rollback web --to N`");
    for part in ["check motd: ", "check shells: ", "the previous system: "] {
        run = run.says(part);
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let record = rig.last_record("web");
    assert_eq!(record["outcome"], "person");
    assert!(record["reason"].to_string().contains("check shells: "), "{record}");
    // An unreadable journal is also reported with where to look.
    std::fs::write(rig.disk("web", "/var/lib/sealift/deploy/journal.json"), "{").unwrap();
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(9);
    run.says("its journal cannot be read").says("`sealift generations web`");
}

#[test]
fn nix_a_host_that_cannot_open_its_secrets_is_never_switched_to_from_afar() {
    let Some(rig) = Rig::try_deployed("remote: secrets that do not open", &["web"]) else { return };
    // sshd presents the pinned key, but secrets are opened with another one, as after restoring a disk.
    rig.on(
        "web",
        &[
            "sh",
            "-c",
            "cp /etc/ssh/ssh_host_ed25519_key /etc/ssh/key && sed -i s/ssh_host_ed25519_key/key/ /etc/ssh/sshd_config",
        ],
    );
    rig.rig(&["reboot", "web"]);
    rig.forget_calls("web");
    let before = rig.state("web");
    rig.change(&["web"]);
    rig.sandbox.ssh_key("other");
    std::fs::copy(rig.sandbox.path("keys/other"), rig.disk("web", "/etc/ssh/ssh_host_ed25519_key")).unwrap();
    rig.sealift(&["deploy", "web", "--yes"]).exits(5).says("token");
    assert_eq!((rig.calls("web"), rig.state("web")), (Vec::new(), before));
    rig.is_tidy("web");
}

#[test]
fn nix_a_disk_that_is_full_is_told_before_or_while_it_is_copied() {
    let Some(rig) = Rig::try_deployed("remote: full disk", &["web"]) else { return };
    let before = rig.state("web");
    rig.change(&["web"]);
    rig.rig(&["fill", "web", "/var/lib"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("web:/var/lib has 0 MiB left").says("du -xhd2 /var/lib");
    assert_eq!((rig.calls("web"), rig.state("web")), (Vec::new(), before));
}

#[test]
fn nix_a_system_that_cannot_be_reached_any_more_is_not_kept() {
    if cannot_rig("remote: no way in after the switch") {
        return;
    }
    for (line, help) in [("test cut", "mend"), ("test deaf", "sshd")] {
        let rig = Rig::deployed(&["web"]);
        let before = rig.state("web");
        rig.change(&["web"]);
        rig.fail("web", line);
        let deploying = rig.start(&["deploy", "web", "--yes", "--acknowledge", "2"]);
        rig.wait_until("the way back", || rig.last_record("web")["outcome"] == "rolled-back");
        assert_eq!(rig.state("web"), before, "the host went back by itself: {line}");
        rig.is_tidy("web");
        rig.rig(&[help, "web"]);
        deploying.ends(&rig).exits(6).says("the deployer did not reconnect within 2 s");
    }
}

#[test]
fn nix_a_link_that_is_cut_for_a_while_ends_nothing() {
    let Some(rig) = Rig::try_deployed("remote: cut link", &["web"]) else { return };
    let value = rig.change(&["web"]);
    let deploying = rig.hanging("web", "test hang", &["deploy", "web", "--yes"]);
    rig.rig(&["cut", "web"]);
    rig.wait_until("the loss", || deploying.said().contains("the connection was lost"));
    rig.rig(&["mend", "web"]);
    rig.go_on("web");
    deploying.ends(&rig).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(value));
    rig.is_tidy("web");
}

#[test]
fn nix_a_host_that_goes_away_before_the_order_was_never_changed() {
    let Some(rig) = Rig::try_deployed("remote: cut before", &["web"]) else { return };
    let before = rig.state("web");
    rig.change(&["web"]);
    rig.rig(&["cut", "web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(7).says("web");
    rig.rig(&["mend", "web"]);
    assert_eq!((rig.calls("web"), rig.state("web")), (Vec::new(), before));
}

#[test]
fn nix_a_machine_of_another_kind_is_told_what_it_needs() {
    let Some(rig) = Rig::try_up("remote: another system", &["web"]) else { return };
    // A fake: no machine of another architecture is available, so uname reports one.
    rig.on(
        "web",
        &["sh", "-c", "printf '#!/bin/sh\\necho Linux riscv64\\n' > /usr/bin/uname && chmod 755 /usr/bin/uname"],
    );
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("Linux riscv64").says("--host-program FILE");
    assert!(!run.stderr.contains("building"), "{}", run.stderr);
    assert!(rig.calls("web").is_empty());
}

#[test]
fn nix_a_value_in_what_was_built_stops_a_deploy_before_anything_is_copied() {
    let Some(rig) = Rig::try_deployed("remote: values in the store", &["web"]) else { return };
    let value = rig.sandbox.value("first");
    rig.system("web", &format!("{{ etc.motd = \"welcome {value}\"; }}"));
    // Written there on purpose, and copied from there into the deployer's store.
    rig.sandbox.allow(rig.sandbox.fleet().join("hosts"));
    rig.commit();
    let before = rig.state("web");
    let jay = rig.sandbox.key("jay");
    let run = rig.sealift(&["deploy", "web", "--yes", "--identity", &jay]).exits(10);
    let run = run.says("the value of token stands there in the clear").says("motd:1").says("sealift rotate token");
    let path = run.stderr.split("/nix/store/").find(|text| text.contains("-motd:1")).expect("the path is named");
    let path = format!("/nix/store/{}", path.split(':').next().expect("a path"));
    rig.on("web", &["sh", "-c", &format!("! test -e {path}")]);
    assert_eq!((rig.calls("web"), rig.state("web")), (Vec::new(), before));
    // It is in the deployer's store now, like the source.
    let collect = rig.command("nix-collect-garbage");
    rig.sandbox.run(collect, b"").exits(0);
    // Without an identity, the missing check is reported.
    rig.system("web", "{ etc.motd = \"second\"; }");
    rig.commit();
    rig.sealift(&["deploy", "web", "--yes"]).exits(0).says("no identity was given").says("said once in this clone");
    // It is not repeated until a deploy has checked.
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert!(!run.stderr.contains("no identity was given"), "{}", run.stderr);
    rig.system("web", "{ etc.motd = \"third\"; }");
    rig.commit();
    let run = rig.sealift(&["deploy", "web", "--yes", "--no-store-scan"]).exits(0);
    assert!(!run.stderr.contains("no identity was given"), "{}", run.stderr);
    rig.sealift(&["deploy", "web", "--yes", "--identity", &jay]).exits(0);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0).says("no identity was given");
    // Nor is an identity needed if the value index and its key are available.
    rig.sealift(&["scan", "--write-index", "--identity", &jay]).exits(0);
    let key = rig.sandbox.path("index.key");
    std::fs::write(&key, rig.sandbox.show("scan-index-key", "jay")).expect("written");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
    rig.system("web", &format!("{{ etc.motd = \"welcome again {value}\"; }}"));
    rig.commit();
    let mut deploy = rig.sealift_command(&["deploy", "web", "--yes"]);
    deploy.env("SEALIFT_INDEX_KEY", &key);
    rig.sandbox.run(deploy, b"").exits(10).says("the value of token stands there in the clear");
    let collect = rig.command("nix-collect-garbage");
    rig.sandbox.run(collect, b"").exits(0);
}
