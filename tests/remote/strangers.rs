//! Whom the deployer talks to: only the machine with the pinned key; and nothing is run because of a name.

use crate::harness::rig::{Rig, cannot_rig};

/// Asserts that a deploy to web is refused with both fingerprints, and that nothing reached the machine that answers.
#[track_caller]
fn is_refused(rig: &Rig, answers: &str, shown: &str, arguments: &[&str]) {
    let log = rig.disk(answers, "/var/log/sshd.log");
    let before = std::fs::read_to_string(&log).unwrap_or_default();
    let mut words = vec!["deploy", "web", "--yes"];
    words.extend(arguments);
    let run = rig.sealift(&words).exits(7).says("web").says("or its host key changed").says("sealift host rekey web");
    let pinned = fingerprint(rig, &policy_key(rig, "web"));
    assert!(run.stderr.contains(&fingerprint(rig, shown)), "the key that was shown: {}", run.stderr);
    assert!(run.stderr.contains(&pinned), "the pinned key {pinned}: {}", run.stderr);
    let after = std::fs::read_to_string(&log).unwrap_or_default();
    let new = after.strip_prefix(before.as_str()).unwrap_or(&after);
    assert!(!new.contains("Accepted") && !new.contains("publickey"), "something was sent: {new}");
    assert!(!run.stderr.contains("building"), "{}", run.stderr);
}

fn fingerprint(rig: &Rig, key: &str) -> String {
    let path = rig.sandbox.path("a.pub");
    std::fs::write(&path, key).unwrap();
    let text = rig.sandbox.tool("ssh-keygen", &["-l", "-f", path.to_str().unwrap()]);
    String::from_utf8(text).unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// The key that recipients.toml pins.
fn policy_key(rig: &Rig, host: &str) -> String {
    let text = rig.sandbox.read("recipients.toml");
    let rest = text.split(&format!("[hosts.{host}]\nkeys = [\"")).nth(1).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

fn new_host_key(rig: &Rig, host: &str) {
    let key = rig.disk(host, "/etc/ssh/ssh_host_ed25519_key");
    std::fs::remove_file(&key).unwrap();
    rig.sandbox.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "new", "-f", key.to_str().unwrap()]);
    rig.rig(&["reboot", host]);
}

/// Changes web's address.
fn move_web(rig: &Rig, address: &str) {
    let text =
        rig.sandbox.read("recipients.toml").replace("address = \"jay@web\"", &format!("address = \"{address}\""));
    rig.sandbox.write("recipients.toml", text);
    rig.commit();
}

#[test]
fn nix_a_host_key_that_changed_is_refused_before_anything_is_sent() {
    let Some(rig) = Rig::try_deployed("remote: changed host key", &["web"]) else { return };
    // The user's configuration trusts any key, and shares an open connection of the user's own.
    let config = "Host *\n  StrictHostKeyChecking no\n  ControlMaster auto\n  ControlPath /tmp/rig-master-%C\n  ControlPersist 60\n";
    let home = rig.sandbox.path("rig/deployer/home/.ssh/config");
    std::fs::write(&home, config.replace("/tmp/", &format!("{}/", rig.sandbox.path("tmp").display()))).unwrap();
    new_host_key(&rig, "web");
    let mut master = rig.command("ssh");
    master.args(["jay@web", "true"]);
    assert_eq!(rig.sandbox.run(master, b"").code, 0, "the user's own ssh takes it");
    let shown = rig.public_key("web");
    is_refused(&rig, "web", &shown, &[]);
    // On another port, for which the user's known_hosts would need another line.
    move_web(&rig, "ssh://jay@web:2222");
    is_refused(&rig, "web", &shown, &[]);
    let mut end = rig.command("ssh");
    end.args(["-O", "exit", "jay@web"]);
    rig.sandbox.run(end, b"");
    // After the user accepts the new key, it succeeds.
    let key = rig.disk("web", "/etc/ssh/ssh_host_ed25519_key.pub");
    let jay = rig.sandbox.key("jay");
    rig.sealift(&["host", "rekey", "web", "--key-file", key.to_str().unwrap(), "--identity", &jay]).exits(0);
    rig.commit();
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("first")));
}

#[test]
fn nix_another_machine_at_the_address_is_refused_also_behind_a_jump_host() {
    let Some(rig) = Rig::try_deployed("remote: wrong machine", &["web", "db", "gate"]) else { return };
    move_web(&rig, "jay@db");
    is_refused(&rig, "db", &rig.public_key("db"), &[]);
    // Through a jump host in the user's configuration, which is a host of the fleet and presents its own key.
    let config = "Host inside\n  HostName db\n  User jay\n  ProxyJump jay@gate\n";
    std::fs::write(rig.sandbox.path("rig/deployer/home/.ssh/config"), config).unwrap();
    let text = rig.sandbox.read("recipients.toml").replace("address = \"jay@db\"", "address = \"inside\"");
    rig.sandbox.write("recipients.toml", text);
    rig.commit();
    is_refused(&rig, "db", &rig.public_key("db"), &[]);
    // The right machine is reached in the same way.
    let text = std::fs::read_to_string(rig.sandbox.path("rig/deployer/home/.ssh/config")).unwrap();
    std::fs::write(rig.sandbox.path("rig/deployer/home/.ssh/config"), text.replace("HostName db", "HostName web"))
        .unwrap();
    rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("second")));
    let log = std::fs::read_to_string(rig.disk("gate", "/var/log/sshd.log")).unwrap();
    assert!(log.contains("direct-tcpip") || log.contains("Accepted publickey"), "it went through the gate: {log}");
    // A jump host of the fleet that is another machine now: nothing goes through it.
    new_host_key(&rig, "gate");
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(7).says("gate");
    assert!(run.stderr.contains(&fingerprint(&rig, &rig.public_key("gate"))), "{}", run.stderr);
}

#[test]
fn nix_paths_with_spaces_are_no_matter() {
    let Some(rig) = Rig::try_up("remote: spaces", &["web"]) else { return };
    let runtime = rig.sandbox.path("run time");
    std::fs::create_dir(&runtime).unwrap();
    let deploy = |fleet: &std::path::Path| {
        let mut command = rig.sealift_command(&["deploy", "web", "--yes", "--fleet", fleet.to_str().unwrap()]);
        command.env("XDG_RUNTIME_DIR", &runtime);
        let run = rig.sandbox.run(command, b"");
        rig.sandbox.remember(&run);
        run
    };
    deploy(&rig.sandbox.fleet()).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("first")));
    // nix has to read this path. If it cannot, the help says what to do.
    let fleet = rig.sandbox.path("a fleet");
    rig.sandbox.tool("cp", &["-r", rig.sandbox.fleet().to_str().unwrap(), fleet.to_str().unwrap()]);
    let run = deploy(&fleet);
    assert!(run.code == 0 || run.stderr.contains("whose path has spaces or special characters"), "{}", run.stderr);
}

#[test]
fn nix_nothing_runs_because_of_a_name_and_nothing_is_shown_as_it_was_sent() {
    let Some(rig) = Rig::try_deployed("remote: hostile names and output", &["web"]) else { return };
    let marker = rig.sandbox.path("marker");
    let option = format!("-oProxyCommand=touch {}", marker.display());
    rig.sealift(&["deploy", "--yes", "--", &option]).exits(2);
    rig.sealift(&["deploy", "web", "--yes", "--ack-address", &option]).exits(2);
    move_web(&rig, &option);
    rig.sealift(&["deploy", "web", "--yes"]).exits(2).says("address");
    assert!(!marker.exists());
    let text = rig.sandbox.read("recipients.toml").replace(&option, "jay@web");
    rig.sandbox.write("recipients.toml", text);
    rig.change(&["web"]);
    // A host whose output contains terminal escape sequences: a title, a clipboard, a line that was never printed.
    let shell = "printf '\\033]52;c;aGk=\\007\\033[2J\\rfine\\n' >&2\n";
    std::fs::write(rig.disk("web", "/home/jay/.bashrc"), shell).unwrap();
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert!(
        !run.stderr.contains('\u{1b}') && !run.stderr.contains('\u{7}') && !run.stderr.contains('\r'),
        "{:?}",
        run.stderr
    );
}

#[test]
fn nix_a_host_that_nobody_pinned_is_not_reached() {
    if cannot_rig("remote: no pin") {
        return;
    }
    let rig = Rig::bare(&["web"]);
    let key = rig.sandbox.age_key("web");
    rig.declare(&format!("\n[hosts.web]\nkeys = [\"{key}\"]\naddress = \"jay@web\"\n"));
    rig.system("web", "{ variant = \"plain\"; }");
    rig.commit();
    rig.sealift(&["deploy", "web", "--yes"]).exits(7).says("it has no pinned SSH host key").says("ssh_keys = [");
}
