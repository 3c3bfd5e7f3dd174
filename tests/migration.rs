//! From one machine's configuration to a fleet: what is taken over, what is left to a person, how far each machine is, and
//! what can go at the end.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::harness::{Sandbox, not_run};

const HARDWARE: &str =
    "# Do not modify this file!\n{ lib, ... }:\n{\n  nixpkgs.hostPlatform = lib.mkDefault \"x86_64-linux\";\n}\n";

fn put(place: &Path, path: &str, text: &str) {
    let path = place.join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

/// A configuration as a fresh NixOS has it, with a token inline, in the box.
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

/// The one copy that was made.
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
    assert!(sandbox.read("flake.nix").contains("readDir ./hosts"));
    let staged = String::from_utf8(sandbox.tool("git", &["ls-files"])).expect("UTF-8");
    assert_eq!(
        staged,
        ".gitattributes\nflake.nix\nhosts/web/default.nix\nhosts/web/hardware-configuration.nix\nrecipients.toml\nsecrets/.gitkeep\n"
    );
    // The copy is whole, for its owner alone, and no link was followed. (That the token is nowhere else is seen at the end.)
    let copy = backup(&sandbox);
    assert!(std::fs::read_to_string(copy.join("configuration.nix")).expect("copied").contains(&sandbox.canary));
    assert_eq!(std::fs::read_link(copy.join("link.nix")).expect("a link"), Path::new("/etc/shadow"));
    assert_eq!(std::fs::metadata(&copy).expect("there").mode() & 0o777, 0o700);

    // Again, and after somebody's own changes: nothing is overwritten.
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
        ("Bad_Name/hardware-configuration.nix", HARDWARE),
        ("evil/hardware-configuration.nix", "{ \u{1b}[2K }\n"),
        (".git/HEAD", "x\n"),
    ] {
        put(&from, path, text);
    }
    sandbox.tool("mkfifo", &[from.join("fifo").to_str().expect("UTF-8")]);
    let run = sandbox.sealift(&["init", "--from", from.to_str().expect("UTF-8"), "--host", "web"]).exits(0);
    let run = run.says("not copied: ").says("on web: nixos-generate-config --show-hardware-config");
    let run = run.prints("not placed: Bad_Name/hardware-configuration.nix");
    run.prints("not placed: evil/hardware-configuration.nix: what nixos-generate-config printed");
    for host in ["db", "laptop"] {
        assert_eq!(sandbox.read(&format!("hosts/{host}/hardware-configuration.nix")), HARDWARE);
        assert!(sandbox.read(&format!("hosts/{host}/default.nix")).contains(&format!("hostName = \"{host}\"")));
    }
    assert!(sandbox.read("hosts/web/default.nix").contains("pathExists"));
    assert!(!sandbox.fleet().join("hosts/evil").exists());
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
    // A copy may hold secrets, and must not lie where git could take it up.
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
    // The hosts' modules are what the module system makes of a function or a set: a set, with what it says.
    let name =
        sandbox.tool("nix-instantiate", &["--eval", "-E", "(import ./hosts/db/default.nix).networking.hostName"]);
    assert_eq!(String::from_utf8(name).expect("UTF-8").trim(), "\"db\"");
    let imports = sandbox.tool(
        "nix-instantiate",
        &["--eval", "--strict", "-E", "map builtins.baseNameOf (import ./hosts/db/default.nix).imports"],
    );
    assert_eq!(String::from_utf8(imports).expect("UTF-8").trim(), "[ \"common.nix\" ]");
}
