//! `install --check`, which Nix runs during a build, and what is refused when a file is opened.

use std::process::Stdio;

use sealift::adapters::age;
use sealift::adapters::age::identity::{Identities, Plugins};
use sealift::adapters::prompt::Ask;
use serde_json::{Value, json};

use super::{Machine, Silence, entry};
use crate::harness::Sandbox;

fn manifest_of(sandbox: &Sandbox, change: impl FnOnce(&mut Value)) -> String {
    let mut manifest = sandbox.sealift(&["manifest", "web"]).exits(0).json();
    change(&mut manifest);
    let path = sandbox.path("m.json");
    std::fs::write(&path, manifest.to_string()).expect("the manifest is written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_manifest_is_checked_without_keys_fleet_git_or_proc() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.seal("b/c", &["--hosts", "web"]);
    let manifest = manifest_of(&sandbox, |_| {});
    sandbox.sealift(&["install", &manifest, "--check"]).exits(0).says("2 secrets");
    // Only the manifest and the files it names are opened, and nothing is written.
    let mut command = sandbox.command("strace");
    command.args(["-f", "-qq", "-e", "trace=open,openat,openat2,creat,mkdir,mkdirat,mount,execve", "-o"]);
    command
        .arg(sandbox.path("trace"))
        .args([env!("CARGO_BIN_EXE_sealift"), "install", &manifest, "--check"])
        .current_dir("/");
    command.stdout(Stdio::null());
    let run = sandbox.run(command, b"");
    if run.stderr.contains("ptrace") {
        crate::harness::not_run("install --check under strace", "strace may not trace here");
        return;
    }
    run.exits(0);
    let trace = std::fs::read_to_string(sandbox.path("trace")).expect("a trace");
    let opened =
        trace.lines().filter(|line| line.contains("open") && !line.contains(".so") && !line.contains("ENOENT"));
    for line in opened.skip_while(|line| !line.contains("m.json")) {
        assert!(["m.json", "secrets/a.age", "secrets/b/c.age"].iter().any(|file| line.contains(file)), "{line}");
    }
    assert!(!trace.contains("O_CREAT") && !trace.contains("mkdir") && !trace.contains("mount("), "{trace}");
}

#[test]
fn every_fault_of_a_manifest_is_found_at_build_time() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.seal("b", &["--hosts", "web"]);
    let check = |change: &dyn Fn(&mut Value)| sandbox.sealift(&["install", &manifest_of(&sandbox, change), "--check"]);
    check(&|manifest| entry(manifest, "a")["file"] = json!("/nowhere/a.age"))
        .exits(1)
        .says("a: cannot open /nowhere/a.age");
    check(&|manifest| entry(manifest, "a")["sealed_as"] = json!("b"))
        .exits(8)
        .says("a: its seal says that it is a, not b")
        .says("`git log -- secrets/b.age`");
    check(&|manifest| manifest["version"] = json!(3))
        .exits(2)
        .says("version 3, and this program reads versions 1 to 2");
    check(&|manifest| entry(manifest, "a")["mode"] = json!("0444")).exits(2).says("a: mode");
    check(&|manifest| entry(manifest, "a")["path"] = json!("/nix/store/a")).exits(2).says("a: path");
    check(&|manifest| entry(manifest, "a")["path"] = json!("a")).exits(2).says("a: path");
    check(&|manifest| entry(manifest, "a")["path"] = json!("/run/sealift.d/5/x")).exits(2).says("a: path");
    check(&|manifest| entry(manifest, "a")["path"] = json!("/run/sealift/b")).exits(2).says("given twice");
    check(&|manifest| entry(manifest, "a")["unknown"] = json!(1)).exits(2).says("not well formed");
    check(&|manifest| entry(manifest, "a")["restart"] = json!(["--now"])).exits(2).says("a: restart");
    check(&|manifest| {
        entry(manifest, "a")["path"] = json!("/opt/x");
        entry(manifest, "b")["path"] = json!("/opt/x/y/b");
    })
    .exits(2)
    .says("/opt/x: its path is a folder of another secret's");
    check(&|manifest| {
        entry(manifest, "a")["name"] = json!("b/a");
        entry(manifest, "b/a")["path"] = json!("/opt/a");
    })
    .exits(2)
    .says("b: its name is a folder");
    check(&|manifest| {
        entry(manifest, "a")["needed_for_users"] = json!(true);
        entry(manifest, "a")["owner"] = json!("web");
    })
    .exits(2)
    .says("a: owner, group");
    let both = check(&|manifest| {
        entry(manifest, "a")["file"] = json!("/nowhere/a.age");
        entry(manifest, "b")["sealed_as"] = json!("a");
    });
    both.exits(4).says("a: cannot open").says("b: its seal says");
    sandbox.sealift(&["install", "/nowhere.json", "--check"]).exits(2).says("cannot read the manifest /nowhere.json");
    sandbox.write("secrets/a.age", "404 not found");
    check(&|_| {}).exits(8).says("a: it is not an age file");
    let path = sandbox.fleet().join("secrets/a.age");
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink(sandbox.fleet().join("secrets/b.age"), &path).expect("a link");
    check(&|_| {}).exits(1).says("a.age is a symbolic link, and is not followed");
}

#[test]
fn a_file_of_another_tool_is_accepted_only_where_that_is_allowed() {
    let Some(machine) = Machine::new() else { return };
    let sandbox = &machine.sandbox;
    sandbox.seal("a", &["--hosts", "web"]);
    let public = std::fs::read_to_string(format!("{}.pub", sandbox.key("web"))).expect("a key");
    let mut command = sandbox.command("age");
    command.args(["-r", public.trim(), "-o", "secrets/a.age"]);
    std::fs::remove_file(sandbox.fleet().join("secrets/a.age")).expect("removed");
    sandbox.run(command, sandbox.value("a").as_bytes()).exits(0);
    let manifest = machine.manifest(|_| {});
    sandbox.sealift(&["install", &manifest, "--check"]).exits(8).says("a: its file has no seal");
    machine.install_from(&manifest, &["--strict"]).exits(1).says("a: its file has no seal");
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["allow_unsealed"] = json!(true));
    sandbox.sealift(&["install", &manifest, "--check"]).exits(0);
    machine.install_from(&manifest, &["--strict"]).exits(0);
    assert_eq!(machine.delivered("a"), Some(sandbox.value("a")));
    assert_eq!(machine.status()["secrets"]["a"]["serial"], Value::Null);
}

#[test]
fn a_value_that_lost_its_shape_is_refused() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["shape"] = json!("env:TOKEN"));
    machine
        .install_from(&manifest, &["--strict"])
        .exits(1)
        .says("a: the value is not of the shape env:TOKEN")
        .says("seal it as `TOKEN=");
    machine.install_from(&manifest, &[]).exits(4).says("1 missing");
    assert_eq!(machine.delivered("a"), None);
}

#[test]
fn exchanged_files_change_nothing() {
    let Some(machine) = Machine::new() else { return };
    for name in ["a", "b"] {
        machine.sandbox.seal(name, &["--hosts", "web"]);
    }
    machine.install(&["--strict"]).exits(0);
    machine.exchange("a", "b");
    machine
        .install(&["--strict"])
        .exits(1)
        .says("secrets/a.age: its seal says that it is b")
        .says("secrets/b.age: its seal says that it is a");
    assert_eq!(machine.live(), Some(1));
    machine.install(&[]).exits(4).says("2 kept from before");
    assert_eq!(machine.delivered("a"), Some(machine.sandbox.value("a")));
    assert_eq!(machine.delivered("b"), Some(machine.sandbox.value("b")));
}

#[test]
fn no_damaged_file_opens() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let file = std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("a sealed file");
    let talk: std::sync::Arc<dyn Ask> = Silence::talk();
    let name = "a".parse().expect("a name");
    for key in ["web", "jay"] {
        let identities = Identities::from_file(sandbox.key(key).as_ref(), &Plugins::default(), &talk).expect("a key");
        let opens = |bytes: &[u8]| age::open(bytes, &name, &identities).is_ok();
        assert!(opens(&file));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(!opens(&damaged), "byte {at} changed");
            assert!(!opens(&file[..at]), "cut at {at}");
        }
        assert!(!opens(&[&file[..], b"x"].concat()), "a byte more");
    }
}
