//! What a login shell, a PATH and ssh's own configuration do to a deploy: detected before anything is built, and named.

use crate::harness::not_run;
use crate::harness::rig::Rig;

/// Changes jay's login shell on a host. Returns whether the shell exists.
fn logs_in_with(rig: &Rig, host: &str, shell: &str) -> bool {
    let Some(place) = ["/usr/bin", "/bin"]
        .iter()
        .map(|folder| format!("{folder}/{shell}"))
        .find(|place| std::path::Path::new(place).exists())
    else {
        return false;
    };
    let script = format!("sed -i -E 's|^(jay:.*:)[^:]*$|\\1{place}|' /etc/passwd");
    rig.on(host, &["sh", "-c", &script]);
    true
}

#[test]
fn nix_a_login_shell_that_prints_is_named_before_anything_is_built() {
    let Some(rig) = Rig::try_up("remote: login shells that print", &["web"]) else { return };
    let file = rig.disk("web", "/home/jay/.bashrc");
    for text in ["echo welcome jay\n", "printf 'no new line'\n"] {
        std::fs::write(&file, text).unwrap();
        let run = rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("the login shell of jay writes");
        let run = run.says("look at ~jay/.bashrc");
        assert!(!run.stderr.contains("building") && !run.stderr.contains("protocol"), "{}", run.stderr);
    }
    // Output only in interactive shells is harmless.
    std::fs::write(&file, "[[ $- == *i* ]] || return\necho welcome jay\n").unwrap();
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    // It is also detected when nix is there, and commands that copy nothing still work.
    std::fs::write(&file, "echo welcome jay\n").unwrap();
    rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("look at ~jay/.bashrc").says("\"welcome jay\"");
    rig.sealift(&["status", "web"]).exits(0);
}

#[test]
fn nix_every_login_shell_will_do() {
    let Some(rig) = Rig::try_up("remote: login shells", &["web"]) else { return };
    for shell in ["sh", "zsh", "fish", "tcsh"] {
        if !logs_in_with(&rig, "web", shell) {
            not_run(&format!("remote: {shell} as login shell"), &format!("{shell} is not installed"));
            continue;
        }
        rig.system("web", &format!("{{ etc.motd = \"{shell}\"; }}"));
        rig.commit();
        rig.sealift(&["deploy", "web", "--yes"]).exits(0);
        // It is quiet only if configured so.
        if shell == "fish" {
            let folder = rig.disk("web", "/home/jay/.config/fish");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("config.fish"), "echo welcome\n").unwrap();
            rig.on("web", &["chown", "-R", "jay:", "/home/jay/.config"]);
            rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("look at ~jay/.config/fish/config.fish");
        }
    }
}

#[test]
fn nix_a_path_without_nix_is_no_lack_of_trust() {
    let Some(rig) = Rig::try_deployed("remote: PATH without nix", &["web"]) else { return };
    rig.change(&["web"]);
    let script = "sed -i '1i SetEnv PATH=/nowhere' /etc/ssh/sshd_config";
    rig.on("web", &["sh", "-c", script]);
    rig.rig(&["reboot", "web"]);
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("nix is not found there");
    assert!(!run.stderr.contains("does not trust") && !run.stderr.contains("building"), "{}", run.stderr);
}

#[test]
fn nix_what_ssh_config_says_of_forking_is_no_matter() {
    let Some(rig) = Rig::try_up("remote: ForkAfterAuthentication", &["web", "gate"]) else { return };
    rig.at_home(".ssh/config", "Host *\n ForkAfterAuthentication yes\n StdinNull yes\n");
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    rig.change(&["web"]);
    let config = "Host web\n ProxyJump jay@gate\nHost *\n ForkAfterAuthentication yes\n StrictHostKeyChecking no\n";
    rig.at_home(".ssh/config", config);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("second")));
}

#[test]
fn nix_more_keys_than_a_host_takes_are_named_for_what_they_are() {
    let Some(rig) = Rig::try_up("remote: too many keys", &["web"]) else { return };
    rig.on("web", &["sh", "-c", "sed -i '1i MaxAuthTries 2' /etc/ssh/sshd_config"]);
    rig.rig(&["reboot", "web"]);
    let mut config = String::from("Host *\n");
    for key in ["id_1", "id_2", "id_3"] {
        rig.sandbox.ssh_key(key);
        let path = rig.sandbox.path("keys").join(key);
        config += &format!(" IdentityFile {}\n", path.display());
    }
    rig.at_home(".ssh/config", &config);
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(7).says("too many of your keys");
    run.says("IdentitiesOnly yes").says("Host web");
    // The suggested fix.
    let known = "Host web\n IdentityFile ~/.ssh/id_ed25519\n IdentitiesOnly yes\n";
    rig.at_home(".ssh/config", known);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
}
