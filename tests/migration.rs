//! From one machine's configuration to a fleet: what is imported, what is left to the user, how far each machine is,
//! and what can be removed at the end.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::harness::machine::{Machine, cannot_deploy};
use crate::harness::{Sandbox, not_run};

const HARDWARE: &str =
    "# Do not modify this file!\n{ lib, ... }:\n{\n  nixpkgs.hostPlatform = lib.mkDefault \"x86_64-linux\";\n}\n";

fn put(place: &Path, path: &str, text: &str) {
    let path = place.join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

/// A configuration like that of a fresh NixOS, with an inline token, in the sandbox.
fn former(sandbox: &Sandbox) -> PathBuf {
    let place = sandbox.path("etc-nixos");
    put(&place, "hardware-configuration.nix", HARDWARE);
    let token = sandbox.value("token");
    put(
        &place,
        "configuration.nix",
        &format!("{{\n  services.x.token = \"{token}\";\n  system.stateVersion = \"24.05\";\n}}\n"),
    );
    put(&place, "old/notes.txt", "x\n");
    symlink("/etc/shadow", place.join("link.nix")).expect("a link");
    sandbox.allow(&place);
    sandbox.allow(sandbox.path("home/.local/state/sealift/backups"));
    place
}

/// The only backup that was made.
fn backup(sandbox: &Sandbox) -> PathBuf {
    let place = sandbox.path("home/.local/state/sealift/backups");
    let mut copies: Vec<_> =
        std::fs::read_dir(place).expect("copies").map(|entry| entry.expect("one").path()).collect();
    copies.sort();
    copies.pop().expect("a copy")
}

#[test]
fn a_configuration_becomes_a_fleet_and_nothing_is_lost_or_leaked() {
    let sandbox = Sandbox::new();
    let from = former(&sandbox);
    let from = from.to_str().expect("UTF-8");
    sandbox.sealift(&["init", "--from", from, "--host", "web"]).exits(1).says("not in a git repository");
    assert!(!sandbox.path("home/.local").exists(), "nothing was done");
    sandbox.tool("git", &["init", "-q"]);
    let run = sandbox.sealift(&["init", "--from", from, "--host", "web"]).exits(0);
    let run =
        run.prints("not placed: configuration.nix").prints("not placed: old/notes.txt").prints("not placed: link.nix");
    run.says("hosts/web/hardware-configuration.nix").says("sealift host add web").says("sealift identity new");
    assert_eq!(sandbox.read("hosts/web/hardware-configuration.nix"), HARDWARE);
    assert!(sandbox.read("hosts/web/default.nix").contains("stateVersion = \"24.05\""));
    let flake = sandbox.read("flake.nix");
    assert!(flake.contains("inputs.nixpkgs.follows = \"nixpkgs\"") && flake.contains("sealift.lib.mkFleet"), "{flake}");
    let staged = String::from_utf8(sandbox.tool("git", &["ls-files"])).expect("UTF-8");
    assert_eq!(
        staged,
        ".gitattributes\nflake.nix\nhosts/web/default.nix\nhosts/web/hardware-configuration.nix\nrecipients.toml\nsecrets/.gitkeep\n"
    );
    // The copy is complete and private, and no symlink was followed. (That the token is nowhere else is checked at the
    // end.)
    let copy = backup(&sandbox);
    assert!(std::fs::read_to_string(copy.join("configuration.nix")).expect("copied").contains(&sandbox.canary));
    assert_eq!(std::fs::read_link(copy.join("link.nix")).expect("a link"), Path::new("/etc/shadow"));
    assert_eq!(std::fs::metadata(&copy).expect("there").mode() & 0o777, 0o700);

    // Again, after manual changes: nothing is overwritten.
    sandbox.write("hosts/web/hardware-configuration.nix", "{ mine = true; }\n");
    sandbox.write("flake.nix", "{ mine = true; }\n");
    let again = sandbox.sealift(&["init", "--from", from, "--host", "web", "--json"]).exits(0).json();
    assert_eq!(again["written"], serde_json::json!([]));
    assert_eq!(again["kept"], serde_json::json!(["hosts/web/default.nix", "hosts/web/hardware-configuration.nix"]));
    assert_eq!(sandbox.read("hosts/web/hardware-configuration.nix"), "{ mine = true; }\n");
    assert_eq!(sandbox.read("flake.nix"), "{ mine = true; }\n");
}

#[test]
fn a_checkout_brings_the_hardware_of_all_its_machines() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q"]);
    let from = sandbox.path("checkout");
    for (path, text) in [
        ("hosts/db/hardware-configuration.nix", HARDWARE),
        ("laptop/hardware-configuration.nix", HARDWARE),
        ("Bad Name/hardware-configuration.nix", HARDWARE),
        ("evil/hardware-configuration.nix", "{ \u{1b}[2K }\n"),
        (".git/HEAD", "x\n"),
    ] {
        put(&from, path, text);
    }
    sandbox.tool("mkfifo", &[from.join("fifo").to_str().expect("UTF-8")]);
    let run = sandbox.sealift(&["init", "--from", from.to_str().expect("UTF-8"), "--host", "web"]).exits(0);
    let run = run.says("not copied: ").says("on web: nixos-generate-config --show-hardware-config");
    let run = run.prints("not placed: Bad Name/hardware-configuration.nix");
    run.prints("not placed: evil/hardware-configuration.nix: what nixos-generate-config printed");
    for host in ["db", "laptop"] {
        assert_eq!(sandbox.read(&format!("hosts/{host}/hardware-configuration.nix")), HARDWARE);
        assert!(sandbox.read(&format!("hosts/{host}/default.nix")).contains(&format!("hostName = \"{host}\"")));
    }
    assert!(sandbox.read("hosts/web/default.nix").contains("pathExists"));
    assert!(!sandbox.fleet().join("hosts/evil").exists());
}

#[test]
fn a_machine_keeps_its_name_and_its_release() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q"]);
    let from = sandbox.path("etc");
    put(&from, "hardware-configuration.nix", HARDWARE);
    put(&from, "system.nix", "{ lib, ... }: { system = { stateVersion = lib.mkDefault \"22.11\"; }; }\n");
    put(&from, "configuration.nix", "{ networking = { hostName = \"attic\"; }; imports = [ ./system.nix ]; }\n");
    put(&from, "hosts/db/hardware-configuration.nix", HARDWARE);
    put(&from, "hosts/db/default.nix", "{ networking.hostName = \"DB_1\"; system.stateVersion = \"23.05\"; }\n");
    sandbox.allow(sandbox.path("home/.local/state/sealift/backups"));
    let from = from.to_str().expect("UTF-8");
    sandbox.sealift(&["init", "--from", from]).exits(0);
    let machine = |name: &str| sandbox.read(&format!("hosts/{name}/default.nix"));
    let attic = machine("attic");
    assert!(attic.contains("hostName = \"attic\"") && attic.contains("stateVersion = \"22.11\""), "{attic}");
    // A host name that is not valid in the fleet is kept in the configuration.
    let db = machine("db");
    assert!(db.contains("hostName = \"DB_1\"") && db.contains("stateVersion = \"23.05\""), "{db}");
    put(Path::new(from), "configuration.nix", "{ networking.hostName = \"Attic_1\"; }\n");
    sandbox.sealift(&["init", "--from", from, "--host", "roof"]).exits(0);
    assert!(machine("roof").contains("hostName = \"Attic_1\""), "{}", machine("roof"));
    // Without a given name, the machine's host name is used, which the flake has too.
    sandbox.sealift(&["init", "--from", from]).exits(0).says("sealift host add");
    assert!(machine("Attic_1").contains("hostName = \"Attic_1\""), "{}", machine("Attic_1"));
    put(Path::new(from), "configuration.nix", "{ networking.hostName = \"a b\"; }\n");
    sandbox.sealift(&["init", "--from", from]).exits(2).says("`a b` there, which no host can be called");
}

#[test]
fn what_is_no_configuration_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q"]);
    let from = sandbox.path("many");
    for number in 0..5_100 {
        put(&from, &format!("{number}"), "");
    }
    let from = from.to_str().expect("UTF-8");
    sandbox.sealift(&["init", "--from", from, "--host", "web"]).exits(2).says("more than 5000 files");
    sandbox.sealift(&["init", "--from", "nowhere", "--host", "web"]).exits(2).says("nowhere cannot be read");
    sandbox.sealift(&["init", "--from", from, "--host", "-x"]).exits(2);
    // A copy may contain secrets, and must not be where git could track it.
    let small = former(&sandbox);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(["init", "--host", "web", "--from"]).arg(small).env("XDG_STATE_HOME", sandbox.fleet().join("state"));
    sandbox.run(command, b"").exits(2).says("lies in the repository");
    assert!(!sandbox.fleet().join("recipients.toml").exists() && !sandbox.fleet().join("state").exists());
}

#[test]
fn nix_what_is_scaffolded_is_nix() {
    let sandbox = Sandbox::new();
    if std::process::Command::new("nix-instantiate").arg("--version").output().is_err() {
        not_run("scaffolds are parsed by Nix", "nix is not installed");
        return;
    }
    sandbox.tool("git", &["init", "-q"]);
    for file in ["home/common.nix", "modules/common.nix"] {
        sandbox.write(file, "{ }\n");
    }
    let from = former(&sandbox);
    sandbox.sealift(&["init", "--from", from.to_str().expect("UTF-8"), "--host", "web"]).exits(0);
    sandbox.sealift(&["init", "--from", sandbox.path("home").to_str().expect("UTF-8"), "--host", "db"]).exits(0);
    for file in ["flake.nix", "hosts/web/default.nix", "hosts/db/default.nix", "home/web.nix"] {
        sandbox.tool("nix-instantiate", &["--parse", file]);
    }
    // A host's module must be a function or a set for the module system: here a set, with the host name.
    let name =
        sandbox.tool("nix-instantiate", &["--eval", "-E", "(import ./hosts/db/default.nix).networking.hostName"]);
    assert_eq!(String::from_utf8(name).expect("UTF-8").trim(), "\"db\"");
    let imports = sandbox.tool(
        "nix-instantiate",
        &["--eval", "--strict", "-E", "map builtins.baseNameOf (import ./hosts/db/default.nix).imports"],
    );
    assert_eq!(String::from_utf8(imports).expect("UTF-8").trim(), "[ \"common.nix\" ]");
}

/// A machine that runs what was deployed last: the minimal root for that.
fn settled(sandbox: &Sandbox) -> PathBuf {
    let root = sandbox.path("machine");
    let system = format!("/nix/store/{}-nixos-system-web-25.11", "a".repeat(32));
    for part in ["bin/switch-to-configuration", "init", "nixos-version"] {
        put(&root, &format!("{}/{part}", system.trim_start_matches('/')), "25.11\n");
    }
    put(&root, "etc/hostname", "web\n");
    put(&root, "etc/ok", "\n");
    std::fs::create_dir_all(root.join("run")).expect("made");
    symlink(&system, root.join("run/current-system")).expect("a link");
    std::fs::create_dir_all(root.join("etc/ssh")).expect("made");
    std::fs::copy(format!("{}.pub", sandbox.key("web")), root.join("etc/ssh/ssh_host_ed25519_key.pub"))
        .expect("copied");
    let record = serde_json::json!({
        "version": 1, "run": "r", "who": "jay@here", "ended": "2026-11-01T00:00:00Z", "action": "switch", "system": system,
        "former": null, "commit": null, "secrets": {}, "outcome": "done", "generation": 1, "reason": null,
    });
    put(&root, "var/lib/sealift/deploys.jsonl", &format!("{record}\n"));
    root
}

/// The done, open and unknown steps, as letters.
fn steps(sandbox: &Sandbox, root: &str) -> String {
    let run = sandbox.sealift(&["status", "--progress", "--json", "--root", root, "web"]);
    let json = run.json();
    let steps = json["hosts"][0]["steps"].as_array().unwrap_or_else(|| panic!("{json}")).clone();
    let letter = |mark: &serde_json::Value| match mark["done"].as_bool() {
        Some(true) => 'd',
        Some(false) => 'o',
        None => '?',
    };
    steps.iter().map(letter).collect()
}

#[test]
fn how_far_a_machine_is_comes_from_facts_and_only_then_the_old_layout_goes() {
    if !rustix::process::geteuid().is_root() {
        not_run("cleanup", "it needs root: machines are verified");
        return;
    }
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("token", &["--hosts", "web"]);
    let policy = sandbox.read("recipients.toml") + "\n[checks.ok]\nexists = \"/etc/ok\"\n";
    sandbox.write("recipients.toml", policy);
    let root = settled(&sandbox);
    let root_text = root.to_str().expect("UTF-8");
    let cleanup = |more: &[&str]| sandbox.sealift(&[&["cleanup", "--root", root_text], more].concat());
    assert_eq!(steps(&sandbox, root_text), "doddd");
    for (path, text) in [
        ("flake.nix", "{ outputs = _: { x = ./used.nix.old; }; }\n"),
        ("used.nix.old", "{ }\n"),
        ("configuration.nix", "{ imports = [ ./hardware-configuration.nix ]; }\n"),
        ("hardware-configuration.nix", HARDWARE),
        ("hosts/web/default.nix", "{ }\n"),
        ("hosts/web/hardware-configuration.nix", HARDWARE),
        ("web.nix", "{ }\n"),
        ("modules/a.nix.bak", "{ }\n"),
        ("modules/b.nix.bak", "{ }\n"),
    ] {
        sandbox.write(path, text);
    }
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "layout"]);
    assert_eq!(steps(&sandbox, root_text), "ddddo");

    // An unhealthy machine keeps the old layout, and so does one that runs another system.
    std::fs::remove_file(root.join("etc/ok")).expect("removed");
    cleanup(&["--yes"]).exits(3).says("web is not verified: nothing is removed").says("check ok");
    std::fs::write(root.join("etc/ok"), "").expect("written");
    let record = root.join("var/lib/sealift/deploys.jsonl");
    let text = std::fs::read_to_string(&record).expect("read");
    std::fs::write(&record, text.replace("\"outcome\":\"done\"", "\"outcome\":\"rolled-back\"")).expect("written");
    assert_eq!(steps(&sandbox, root_text), "ddodo");
    cleanup(&["--yes"]).exits(3).says("the last deploy ended as rolled back");
    std::fs::write(&record, text).expect("written");

    // Without confirmation.
    sandbox.write("modules/b.nix.bak", "{ changed = true; }\n");
    sandbox.write("modules/c.nix.bak", "{ }\n");
    let run =
        cleanup(&[]).exits(1).prints("configuration.nix: ").prints("web.nix: hosts/web/default.nix took its place");
    run.says("modules/b.nix.bak stays: it differs from the last commit").says("nothing was removed");
    assert!(sandbox.fleet().join("configuration.nix").exists());

    // Only shown.
    let run = cleanup(&["--dry-run"]).exits(0).prints("configuration.nix: ");
    run.says("nothing was removed: without `--dry-run` it would be 4 files");
    assert_eq!(cleanup(&["--dry-run", "--yes", "--json"]).exits(0).json()["dry_run"], true);
    assert!(sandbox.fleet().join("configuration.nix").exists());
    assert!(sandbox.tool("git", &["diff", "--cached", "--name-status"]).is_empty());

    let removed = cleanup(&["--yes", "--json"]).exits(0).json();
    let paths: Vec<&str> = removed["removed"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|one| one["path"].as_str().expect("a path"))
        .collect();
    assert_eq!(paths, ["configuration.nix", "hardware-configuration.nix", "modules/a.nix.bak", "web.nix"]);
    let staged = String::from_utf8(sandbox.tool("git", &["diff", "--cached", "--name-status"])).expect("UTF-8");
    assert_eq!(staged, "D\tconfiguration.nix\nD\thardware-configuration.nix\nD\tmodules/a.nix.bak\nD\tweb.nix\n");
    assert!(!sandbox.fleet().join("web.nix").exists());
    for stays in ["used.nix.old", "modules/b.nix.bak", "modules/c.nix.bak", "hosts/web/hardware-configuration.nix"] {
        assert!(sandbox.fleet().join(stays).exists(), "{stays}");
    }
    // All of it is in git.
    sandbox.tool("git", &["cat-file", "-e", "HEAD:configuration.nix"]);
}

#[test]
fn a_machine_that_is_away_leaves_its_steps_open_and_the_old_layout_in_place() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let policy =
        sandbox.read("recipients.toml").replace("[hosts.web]\n", "[hosts.web]\naddress = \"ssh://127.0.0.1:1\"\n");
    sandbox.write("recipients.toml", policy);
    sandbox.write("hosts/web/default.nix", "{ }\n");
    sandbox.write("web.nix", "{ }\n");
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "layout"]);
    let run = sandbox.sealift(&["status", "--progress"]).exits(4);
    let run = run.prints("web   done      open       ?         ?         open").says("refuses connections");
    assert!(!run.stderr.contains("web: deployed: web: "), "named once: {}", run.stderr);
    let run = sandbox.sealift(&["status"]).exits(7).says("web: ").says("refuses connections");
    assert!(!run.stderr.contains("web: web: "), "named once: {}", run.stderr);
    sandbox.sealift(&["cleanup", "--yes"]).exits(7).says("web is not verified");
    assert!(sandbox.fleet().join("web.nix").exists());
}

#[test]
fn what_is_open_on_several_machines_is_said_once() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    let policy = sandbox.read("recipients.toml");
    let more = "\n[secrets.a]\nhosts = [\"*\"]\n\n[secrets.b]\nhosts = [\"*\"]\n";
    let away = |host: &str| format!("[hosts.{host}]\naddress = \"ssh://127.0.0.1:1\"\n");
    let policy = policy.replace("[hosts.web]\n", &away("web")).replace("[hosts.db]\n", &away("db"));
    sandbox.write("recipients.toml", policy + more);
    let run = sandbox.sealift(&["status", "--progress"]).exits(4);
    let run = run.says("2 files are not sealed to it, such as secrets/a.age: `sealift rekey`: db, web (2 hosts)");
    assert!(!run.stderr.contains("verified: "), "the reason is that of the step before: {}", run.stderr);
    sandbox.sealift(&["rm", "a"]).exits(1);
}

#[test]
fn nix_etc_nixos_is_linked_once_all_is_well_and_a_rollback_brings_it_back() {
    if cannot_deploy("deploy --link-etc-nixos") {
        return;
    }
    let machine = Machine::running("{ }");
    let (root, nixos) = (&machine.root, machine.root.join("etc/nixos"));
    put(root, "etc/nixos/configuration.nix", "mine\n");
    put(root, "home/jay/dotfiles/flake.nix", "{ }\n");
    let link = "--link-etc-nixos=/home/jay/dotfiles";
    let is_directory = || std::fs::read_to_string(nixos.join("configuration.nix")).is_ok_and(|text| text == "mine\n");
    let is_real = || nixos.symlink_metadata().is_ok_and(|there| there.is_dir());

    // Not before it is known to work, nor if the system fails.
    machine.system("{ etc.motd = \"two\\n\"; }");
    let before = machine.state();
    machine.deploy(&["--link-etc-nixos=/home/nobody"]).exits(2).says("there is no flake.nix there");
    machine.deploy(&["--link-etc-nixos"]).exits(2).says("--link-etc-nixos=DIR");
    assert_eq!(machine.state(), before);
    machine.fail("test 4");
    machine.deploy(&[link]).exits(6);
    assert!(is_directory() && is_real());
    machine.deploy(&[link, "--action", "test"]).exits(0);
    assert!(is_directory() && is_real(), "a test leaves it alone");

    machine.deploy(&[link]).exits(0).says("/etc/nixos leads to /home/jay/dotfiles");
    assert_eq!(machine.link("etc/nixos"), "/home/jay/dotfiles");
    let aside: Vec<String> = std::fs::read_dir(root.join("etc"))
        .expect("read")
        .map(|entry| entry.expect("one").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.starts_with("nixos."))
        .collect();
    assert_eq!(
        std::fs::read_to_string(root.join("etc").join(&aside[0]).join("configuration.nix")).expect("kept"),
        "mine\n"
    );
    let faults = machine.on("doctor", &["--json"]).json();
    assert!(!faults.to_string().contains("etc-nixos"), "doctor finds nothing wrong with it: {faults}");

    machine.on("rollback", &[]).exits(0).says("/etc/nixos is the directory that it was");
    assert!(is_directory() && is_real() && !root.join("etc").join(&aside[0]).exists());
}

#[test]
fn init_says_how_what_is_there_is_taken_over() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q", "-b", "main"]);
    sandbox.write("secrets/secrets.nix", "{ }\n");
    sandbox.write(".sops.yaml", "keys: []\n");
    sandbox
        .sealift(&["init"])
        .exits(0)
        .says("secrets/secrets.nix is of agenix: sealift import agenix --dry-run")
        .says(".sops.yaml is of sops")
        .says("docs/import.md");
}

#[test]
fn init_evaluates_nothing_of_a_flake() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q"]);
    // Any call of nix leaves a mark.
    let nix = sandbox.path("bin/nix");
    std::fs::create_dir(sandbox.path("bin")).expect("a directory");
    std::fs::write(&nix, "#!/bin/sh\ntouch \"$HOME/asked\"\nexit 1\n").expect("a program");
    std::fs::set_permissions(&nix, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").expect("a PATH"));
    let init = || {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.arg("init").env("PATH", &path);
        let run = sandbox.run(command, b"").exits(0);
        assert!(!sandbox.path("home/asked").exists() && !sandbox.fleet().join("flake.lock").exists());
        run
    };
    sandbox.write("flake.nix", "{ inputs.x.url = \"github:no/such\"; outputs = { x, ... }: { nixosConfigurations = {\n  web = 1; \"Ripper_1\" = 2; \"a b\" = 2; } // import (x.run \"touch /tmp/built\"); nixosConfigurations.db = 3; }; }");
    let run = init().says("add the hosts Ripper_1, db, web: sealift host add NAME --ssh NAME");
    let run = run
        .says("not read: flake.nix:2: names of nixosConfigurations are computed here")
        .says("a b is configured here, and is not a configuration name");
    run.says("nothing of the flake is evaluated").says("sealift host add NAME --ssh NAME");
    // Invalid Nix is reported, and the folders of hosts/ are used instead.
    sandbox.write("hosts/mail/default.nix", "{ }");
    sandbox.write("flake.nix", "{ nixosConfigurations = ");
    init().says("not read: flake.nix: line 1 is not Nix").says("sealift host add mail");
    sandbox.write(
        "flake.nix",
        "{ outputs = _: { nixosConfigurations = builtins.mapAttrs f (builtins.readDir ./hosts); }; }",
    );
    let run = init().says("sealift host add mail");
    assert!(!run.stderr.contains("not read"), "{}", run.stderr);
}
