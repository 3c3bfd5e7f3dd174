//! What a host allows the login user to do: sudo, and nix.

use std::io::Write;

use crate::harness::not_run;
use crate::harness::rig::{Rig, cannot_rig};

#[test]
fn nix_sudo_that_refuses_is_told_before_anything_is_built() {
    let Some(rig) = Rig::try_deployed("remote: sudo refuses", &["web"]) else { return };
    let before = rig.state("web");
    rig.change(&["web"]);
    rig.rig(&["sudo", "web", "none"]);
    let run = rig
        .sealift(&["deploy", "web", "--yes"])
        .exits(1)
        .says("sudo on web refuses jay")
        .says("NOPASSWD: /run/current-system/etc/sealift/host host-run");
    assert!(!run.stderr.contains("building"), "{}", run.stderr);
    // Commands that need no root do not ask for it.
    rig.sealift(&["status", "web"]).exits(0);
    rig.sealift(&["generations", "web"]).exits(0);
    assert_eq!(rig.state("web"), before);
}

#[test]
fn nix_the_line_for_sudoers_is_enough() {
    let Some(rig) = Rig::try_deployed("remote: sudoers line", &["web"]) else { return };
    rig.rig(&["sudo", "web", "host"]);
    let value = rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(value));
    rig.sealift(&["verify", "web"]).exits(0);
    rig.sealift(&["rollback", "web"]).exits(0);
    // The running generation's program starts only the next one's, and only from a system in the store.
    let request = r#"{"version":1,"run":"x","who":"x@x","root":"/","host":"web","work":{"switch":{"action":"test","system":"/tmp/evil","profile":"new","expected":null,"live":true,"bundle":null,"checks":[],"settle":0,"engine":"native","commit":null,"acknowledge":null}}}"#;
    rig.on("web", &["sh", "-c", "mkdir -p /tmp/evil/bin /tmp/evil/etc/sealift && printf '#!/bin/sh\\ntouch /tmp/marker\\n' | tee /tmp/evil/bin/switch-to-configuration > /tmp/evil/etc/sealift/host && chmod -R 755 /tmp/evil"]);
    let mut command = rig.command("ssh");
    command.args([
        "-o",
        "StrictHostKeyChecking=accept-new",
        "jay@web",
        "sudo -n /run/current-system/etc/sealift/host host-run",
    ]);
    let run = rig.sandbox.run(command, request.as_bytes());
    assert!(run.code != 0 && run.text().contains("not a store path"), "{}{}", run.text(), run.stderr);
    rig.on("web", &["sh", "-c", "! test -e /tmp/marker"]);
}

/// Runs a command on a terminal, and answers each question with the next line. Returns the exit code and the screen.
fn at_a_terminal(rig: &Rig, arguments: &[&str], answers: &[(&str, &str)]) -> (i32, String) {
    let mut script = String::from("set timeout 120\nlog_user 1\nspawn -noecho");
    let command = rig.sealift_command(arguments);
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        script += &format!(" {{{}}}", word.to_str().unwrap());
    }
    script += "\n";
    for (question, answer) in answers {
        script += &format!(
            "expect {{\n  {{{question}}} {{ send -- \"{answer}\\r\" }}\n  eof {{ exit 99 }}\n  timeout {{ exit 98 }}\n}}\n"
        );
    }
    script += "expect eof\ncatch wait result\nexit [lindex $result 3]\n";
    let path = rig.sandbox.path("dialogue.exp");
    std::fs::File::create(&path).unwrap().write_all(script.as_bytes()).unwrap();
    let mut expect = rig.sandbox.command("expect");
    expect.arg("-f").arg(&path).env("NIX_USER_CONF_FILES", "/dev/null").env("TERM", "dumb");
    let run = rig.sandbox.run(expect, b"");
    (run.code, run.text())
}

#[test]
fn nix_the_password_of_sudo_is_asked_once_a_host_and_goes_nowhere_else() {
    let Some(rig) = Rig::try_deployed("remote: sudo's password", &["web"]) else { return };
    rig.rig(&["sudo", "web", "password"]);
    let value = rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("--ask-sudo");
    rig.sealift(&["deploy", "web", "--yes", "--ask-sudo"]).exits(1);
    let (code, shown) =
        at_a_terminal(&rig, &["deploy", "web", "--yes", "--ask-sudo"], &[("sudo password of jay on web", "wrong")]);
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("sudo on web refuses jay"), "{shown}");
    let (code, shown) =
        at_a_terminal(&rig, &["deploy", "web", "--yes", "--ask-sudo"], &[("sudo password of jay on web", "jay")]);
    assert_eq!(code, 0, "{shown}");
    assert_eq!(shown.matches("sudo password").count(), 1, "{shown}");
    assert_eq!(rig.secret("web", "token"), Some(value));
}

#[test]
fn nix_a_sudo_that_wants_a_terminal_is_named_for_that() {
    let Some(rig) = Rig::try_deployed("remote: requiretty", &["web"]) else { return };
    rig.rig(&["sudo", "web", "tty"]);
    rig.change(&["web"]);
    for arguments in [&["deploy", "web", "--yes"][..], &["deploy", "web", "--yes", "--ask-sudo"]] {
        let run = rig.sealift(arguments).exits(1).says("sudo on web requires a terminal (`requiretty`)");
        let run = run.says("Defaults:jay !requiretty");
        assert!(!run.stderr.contains("`--ask-sudo` asks") && !run.stderr.contains("building"), "{}", run.stderr);
    }
}

#[test]
fn nix_doas_makes_root_where_it_is_configured() {
    if cannot_rig("remote: doas") {
        return;
    }
    if !std::path::Path::new("/usr/bin/doas").exists() {
        not_run("remote: doas", "doas is not installed");
        return;
    }
    let rig = Rig::deployed(&["web"]);
    let value = rig.change(&["web"]);
    rig.on("web", &["rm", "/usr/bin/sudo"]);
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("doas on web refuses jay");
    let line = "permit nopass jay as root cmd /run/current-system/etc/sealift/host args host-run";
    assert!(!run.says(line).stderr.contains("building"), "it is found before");
    std::fs::write(rig.disk("web", "/etc/doas.conf"), format!("{line}\n")).unwrap();
    // It acknowledges as jay, the user in doas.conf.
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(value));
    rig.sealift(&["verify", "web"]).exits(0);
    rig.on("web", &["rm", "/usr/bin/doas"]);
    rig.sealift(&["verify", "web"]).exits(1).says("web has neither sudo nor doas in the PATH of jay");
}

#[test]
fn nix_a_user_whom_the_daemon_does_not_let_in_is_told_before_the_build() {
    let Some(rig) = Rig::try_up("remote: allowed-users", &["web"]) else { return };
    let config = rig.disk("web", "/etc/nix/nix.conf");
    let open = std::fs::read_to_string(&config).unwrap();
    let bar = |rig: &Rig| {
        let text = open.replace("trusted-users = root jay", "trusted-users = root\nallowed-users = ana");
        assert_ne!(text, open);
        std::fs::write(&config, text).unwrap();
        rig.rig(&["reboot", "web"]);
    };
    // Before the first deploy, and after.
    for _ in 0..2 {
        bar(&rig);
        let run = rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("nix on web does not let jay in");
        let run = run.says("nix.settings.allowed-users = [ \"jay\" ]");
        assert!(!run.stderr.contains("does not trust") && !run.stderr.contains("building"), "{}", run.stderr);
        std::fs::write(&config, &open).unwrap();
        rig.rig(&["reboot", "web"]);
        rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    }
}

#[test]
fn nix_whom_nix_does_not_trust_is_told_the_mends_before_the_build_and_each_works() {
    let Some(rig) = Rig::try_deployed("remote: nix trust", &["web"]) else { return };
    rig.rig(&["trust", "web"]);
    let value = rig.change(&["web"]);
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("nix on web does not trust jay");
    run.says("nix.settings.trusted-users = [ \"jay\" ]").says("sign_key").says("--build-on-target");

    // Built on the host: only derivations are copied unsigned.
    rig.sealift(&["deploy", "web", "--yes", "--build-on-target"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(value));

    // Signed with a key that the host trusts.
    let (private, public) = (rig.sandbox.path("nix-key"), rig.sandbox.path("nix-key.pub"));
    let key = rig.sandbox.tool(
        "nix",
        &["--extra-experimental-features", "nix-command", "key", "generate-secret", "--key-name", "rig-1"],
    );
    std::fs::write(&private, &key).unwrap();
    let mut convert = rig.sandbox.command("nix");
    convert.args(["--extra-experimental-features", "nix-command", "key", "convert-secret-to-public"]);
    let converted = rig.sandbox.run(convert, &key).exits(0).text();
    std::fs::write(&public, &converted).unwrap();
    let config = rig.disk("web", "/etc/nix/nix.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}trusted-public-keys = {}\n", converted.trim())).unwrap();
    rig.rig(&["reboot", "web"]);
    rig.declare(&format!("\n[deploy]\nsign_key = \"{}\"\n", private.display()));
    rig.system("web", "{ etc.motd = \"third\"; }");
    let third = rig.seal("token", "third", &[]);
    rig.commit();
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(third));
}

#[test]
fn nix_another_machine_builds_and_what_it_built_comes_back() {
    let Some(rig) = Rig::try_deployed("remote: build host", &["web", "maker"]) else { return };
    let value = rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes", "--build-host", "jay@maker"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(value));
    let log = std::fs::read_to_string(rig.disk("maker", "/var/log/sshd.log")).unwrap();
    assert!(log.matches("Accepted publickey").count() >= 3, "{log}");
}
