//! Killed at any step, or on a full or read-only file system: the old or the new state is in place, never a mix, and
//! the next install works.

use serde_json::json;

use super::{Machine, entry, names};
use crate::crash::can_inject;
use crate::harness::Run;

/// Runs an install of a manifest under strace, whose own output is discarded.
pub fn traced(machine: &Machine, options: &[&str], manifest: &str) -> Run {
    let mut command = machine.sandbox.command("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]).args(options).arg(env!("CARGO_BIN_EXE_sealift"));
    command.args([
        "install",
        manifest,
        "--strict",
        "--root",
        machine.root.shown(),
        "--identity",
        &machine.sandbox.key("web"),
    ]);
    machine.sandbox.run(command, b"")
}

/// Kills an install at each call of each of these, until there are no more. `check` sees the state after each.
fn killed_at_each(machine: &Machine, manifest: &str, calls: &[&str], mut check: impl FnMut(&str)) -> usize {
    let mut kills = 0;
    for call in calls {
        let before = kills;
        for nth in 1..200 {
            let run = traced(
                machine,
                &["-e", &format!("trace={call}"), "-e", &format!("inject={call}:signal=KILL:when={nth}")],
                manifest,
            );
            check(&format!("{call} {nth}"));
            if run.code == 0 {
                break;
            }
            assert_eq!(run.code, 128 + 9, "{call} {nth}: {}", run.stderr);
            kills += 1;
        }
        assert!(kills > before, "no fault at {call}");
    }
    kills
}

#[test]
fn killed_at_any_step_the_old_or_the_new_state_stands() {
    if !can_inject("killed_at_any_step_the_old_or_the_new_state_stands") {
        return;
    }
    let Some(machine) = Machine::new() else { return };
    let values = |machine: &Machine| (machine.delivered("a"), machine.delivered("b/c"));
    let seal = |name: &str, value: &str| {
        machine
            .sandbox
            .sealift_with(&["seal", name, "--replace", "--stdin"], machine.sandbox.value(value).as_bytes())
            .exits(0);
    };
    machine.sandbox.seal("a", &["--hosts", "web", "--path", "/opt/a"]);
    machine.sandbox.seal("b/c", &["--hosts", "web"]);
    machine.install(&["--strict"]).exits(0);
    let old = (Some(machine.sandbox.value("a")), Some(machine.sandbox.value("b/c")));
    let old_manifest = machine.sandbox.path("old.json");
    std::fs::rename(machine.sandbox.fleet().join("secrets"), machine.sandbox.path("secrets")).expect("moved");
    machine.sandbox.tool("cp", &["-r", machine.sandbox.path("secrets").to_str().expect("UTF-8"), "secrets"]);
    let text = std::fs::read_to_string(machine.manifest(|_| {})).expect("a manifest");
    let fleet = std::fs::canonicalize(machine.sandbox.fleet()).expect("a path");
    let below = format!("{}/secrets", fleet.display());
    let aside = std::fs::canonicalize(machine.sandbox.path("secrets")).expect("a path");
    std::fs::write(&old_manifest, text.replace(&below, aside.to_str().expect("UTF-8"))).expect("written");
    let old_manifest = old_manifest.to_str().expect("UTF-8").to_owned();
    seal("a", "a2");
    seal("b/c", "c2");
    let new = (Some(machine.sandbox.value("a2")), Some(machine.sandbox.value("c2")));
    let manifest = machine.manifest(|_| {});
    let calls = ["mkdirat", "fchown", "fchmod", "symlinkat", "renameat", "unlinkat", "getdents64"];
    let kills = killed_at_each(&machine, &manifest, &calls, |at| {
        let state = values(&machine);
        assert!(state == old || state == new, "a mix after {at}");
        assert_eq!(
            std::fs::read_link(machine.root.path("opt/a")).expect("a link").to_str(),
            Some("/run/sealift/a"),
            "{at}"
        );
        // The next install works, and restores the old state for the next round. Twice: the second one removes what the
        // first kept.
        machine.install_from(&old_manifest, &["--strict"]).exits(0);
        machine.install_from(&old_manifest, &["--strict"]).exits(0);
        assert_eq!(values(&machine), old, "{at}");
        let left = machine.generations().iter().filter(|name| name.parse::<u64>().is_ok()).count();
        assert_eq!((left, machine.generations().len()), (2, 4), "{at}: {:?}", machine.generations());
        assert_eq!(names(machine.root.path("run")), ["sealift", "sealift.d", "sealift.lock"], "{at}");
        assert_eq!(names(machine.root.path("opt")), ["a"], "{at}");
    });
    assert!(kills > 20, "only {kills} steps were seen");
}

#[test]
fn killed_at_its_first_steps_the_next_install_works() {
    if !can_inject("killed_at_its_first_steps_the_next_install_works") {
        return;
    }
    for call in ["mkdirat", "fsopen", "fsmount", "move_mount", "symlinkat", "renameat", "fchmod"] {
        let Some(machine) = Machine::new() else { return };
        machine.sandbox.seal("a", &["--hosts", "web"]);
        let manifest = machine.manifest(|_| {});
        killed_at_each(&machine, &manifest, &[call], |at| {
            let state = machine.delivered("a");
            assert!(state.is_none() || state == Some(machine.sandbox.value("a")), "{at}");
            machine.sandbox.tool(
                "sh",
                &[
                    "-c",
                    &format!("umount -l {0}/run/sealift.d 2>/dev/null; rm -rf {0}/run.old; :", machine.root.shown()),
                ],
            );
            machine.install_from(&manifest, &["--strict"]).exits(0);
            assert_eq!(machine.delivered("a"), Some(machine.sandbox.value("a")), "{at}");
            machine.sandbox.tool("umount", &["-l", machine.root.path("run/sealift.d").to_str().expect("UTF-8")]);
            std::fs::remove_dir_all(machine.root.path("run")).expect("a new boot");
        });
    }
}

#[test]
fn a_full_file_system_leaves_the_old_state() {
    if !can_inject("a_full_file_system_leaves_the_old_state") {
        return;
    }
    let Some(machine) = Machine::new() else { return };
    let at = machine.root.path("run/sealift.d");
    std::fs::create_dir_all(&at).expect("a directory");
    machine
        .sandbox
        .tool("mount", &["-t", "tmpfs", "-o", "noswap,mode=0751,size=64k", "x", at.to_str().expect("UTF-8")]);
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.install(&["--strict"]).exits(0);
    let before = machine.generations();
    let large = format!("{}{}", machine.sandbox.value("large"), "x".repeat(100_000));
    machine.sandbox.sealift_with(&["seal", "large", "--hosts", "web", "--stdin"], large.as_bytes()).exits(0);
    for options in [&["--strict"][..], &[]] {
        machine.install(options).exits(1).says("cannot write").says("No space left on device");
        assert_eq!(
            (machine.live(), machine.delivered("a"), machine.generations()),
            (Some(1), Some(machine.sandbox.value("a")), before.clone())
        );
    }
    // The same for every other failure to write.
    std::fs::remove_file(machine.sandbox.fleet().join("secrets/large.age")).expect("removed");
    let manifest = machine.manifest(|manifest| {
        manifest["secrets"].as_array_mut().expect("secrets").retain(|entry| entry["name"] == "a");
    });
    for (call, error, said) in [
        ("write", "EIO", "Input/output error"),
        ("fchown", "EPERM", "Operation not permitted"),
        ("fchmod", "EROFS", "Read-only file system"),
        ("symlinkat", "ENOSPC", "No space left on device"),
        ("renameat", "EIO", "Input/output error"),
        ("mkdirat", "EDQUOT", "Disk quota exceeded"),
    ] {
        let fails = |nth: &usize| {
            let inject = format!("inject={call}:error={error}:when={nth}");
            let run = traced(&machine, &["-e", &format!("trace={call}"), "-e", &inject], &manifest);
            assert!(run.code == 0 || run.stderr.contains(said), "{call} {nth}: {}", run.stderr);
            run.code != 0
        };
        assert!((1..12).filter(fails).count() > 0, "no fault at {call}");
        assert_eq!(machine.delivered("a"), Some(machine.sandbox.value("a")), "{call}");
    }
    for call in ["fchown", "renameat", "mkdirat"] {
        let live = machine.live();
        traced(&machine, &["-e", &format!("inject={call}:error=EIO")], &manifest).exits(1).says("Input/output error");
        assert_eq!(machine.live(), live);
        assert_eq!(machine.generations().len(), 4, "{call}: {:?}", machine.generations());
    }
}

#[test]
fn links_of_an_install_that_fails_are_taken_back() {
    if !can_inject("links_of_an_install_that_fails_are_taken_back") {
        return;
    }
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web", "--path", "/opt/a"]);
    machine.sandbox.seal("b", &["--hosts", "web", "--path", "/opt/b"]);
    machine.install(&["--strict"]).exits(0);
    // One link changed, one new, one removed.
    let manifest = machine.manifest(|manifest| {
        entry(manifest, "a")["path"] = json!("/opt/b");
        entry(manifest, "b")["path"] = json!("/opt/new");
    });
    let links = || {
        let target = |name: &String| std::fs::read_link(machine.root.path("opt").join(name)).expect("a link");
        names(machine.root.path("opt"))
            .iter()
            .map(|name| format!("{name} {}", target(name).display()))
            .collect::<Vec<_>>()
    };
    let mut failures = 0;
    for nth in 1..20 {
        let inject = format!("inject=renameat:error=EIO:when={nth}");
        if traced(&machine, &["-e", "trace=renameat", "-e", &inject], &manifest).code == 0 {
            break;
        }
        assert_eq!(links(), ["a /run/sealift/a", "b /run/sealift/b"], "{nth}");
        failures += 1;
    }
    assert!(failures >= 3, "{failures}");
    assert_eq!(links(), ["b /run/sealift/a", "new /run/sealift/b"]);
}

#[test]
fn a_read_only_run_is_said() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    let at = machine.root.path("run");
    std::fs::create_dir_all(&at).expect("a directory");
    let at = at.to_str().expect("UTF-8");
    machine.sandbox.tool("mount", &["-t", "tmpfs", "-o", "mode=0755,ro", "x", at]);
    machine.install(&[]).exits(1).says("Read-only file system");
    assert!(names(at.into()).is_empty());
}

#[test]
fn plaintext_is_written_to_memory_only() {
    if !can_inject("plaintext_is_written_to_memory_only") {
        return;
    }
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web", "--path", "/opt/a"]);
    machine.sandbox.seal("b/c", &["--hosts", "web"]);
    let manifest = machine.manifest(|_| {});
    let trace = machine.root.path("run/sealift.d/trace");
    for round in 1..=2 {
        let mut command = machine.sandbox.command("strace");
        command.args(["-f", "-qq", "-y", "-s", "65536", "-e", "trace=%file,%desc,%network,execve", "-o"]);
        let trace = if round == 1 { machine.sandbox.path("trace") } else { trace.clone() };
        command.arg(&trace).arg(env!("CARGO_BIN_EXE_sealift"));
        command.args([
            "install",
            &manifest,
            "--strict",
            "--root",
            machine.root.shown(),
            "--identity",
            &machine.sandbox.key("web"),
        ]);
        machine.sandbox.run(command, b"").exits(0);
        let text = std::fs::read_to_string(&trace).expect("a trace");
        std::fs::remove_file(&trace).expect("the trace holds values");
        let value = machine.sandbox.value("");
        let place = format!(
            "<{}/run/sealift.d/{round}/",
            std::fs::canonicalize(machine.root.path("")).expect("a path").display()
        );
        let seen: Vec<&str> = text.lines().filter(|line| line.contains(&value)).collect();
        let writes: Vec<&&str> = seen.iter().filter(|line| line.contains("write")).collect();
        assert_eq!(writes.len(), 2, "{seen:#?}");
        assert!(writes.iter().all(|line| line.contains(&place)), "{writes:#?}");
        // Otherwise only the previous generation is read.
        assert!(seen.iter().all(|line| line.contains("write(") || line.contains("read(")), "{seen:#?}");
    }
}
