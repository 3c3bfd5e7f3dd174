//! The program on the host, driven as by a deployer.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::machine::{Machine, cannot_deploy};
use crate::harness::{Run, Sandbox};

fn request(machine: &Machine, change: impl FnOnce(&mut Value)) -> Value {
    // Each run has its own name.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let system = machine.link("run/current-system");
    let switch = json!({
        "action": "switch", "system": system, "profile": "new", "expected": system, "live": true, "bundle": null,
        "checks": [], "settle": 0, "engine": "native", "commit": null
    });
    let mut request = json!({
        "version": 1, "run": format!("20260101T000000Z-test{number}"), "who": "test@here", "root": machine.root, "host": "web",
        "work": { "switch": switch }
    });
    change(&mut request);
    request
}

fn give(machine: &Machine, request: &str) -> (Run, Value) {
    let run = machine.sandbox.run(machine.host_command(&["host-run"]), request.as_bytes());
    let last = run.text().lines().last().map(|line| serde_json::from_str(line).expect("events are JSON"));
    (run, last.unwrap_or_default())
}

#[test]
fn nix_an_order_is_carried_out_and_its_events_are_lines_of_json() {
    if cannot_deploy("host-run") {
        return;
    }
    let machine = Machine::running("{ }");
    let (run, last) = give(&machine, &request(&machine, |_| {}).to_string());
    assert_eq!(
        (run.code, &last["event"], &last["outcome"], &last["generation"]),
        (0, &"end".into(), &"done".into(), &1.into())
    );
    assert!(
        run.text()
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|event| event["event"].is_string()))
    );
    assert_eq!(machine.calls(), ["test 0", "boot 0"]);
}

#[test]
fn nix_an_order_that_is_not_understood_changes_nothing() {
    if cannot_deploy("host-run with wrong orders") {
        return;
    }
    let machine = Machine::running("{ }");
    let before = machine.state();
    std::fs::write(machine.root.join("root/other.log"), "{\"event\":\"said\",\"text\":\"of somebody else\"}\n")
        .unwrap();
    let requests = [
        (request(&machine, |request| request["version"] = 2.into()), "the request is of version 2"),
        (request(&machine, |request| request["more"] = 1.into()), "not well formed"),
        (request(&machine, |request| request["run"] = "../x".into()), "run is not a name"),
        // Its result file would replace the journal.
        (request(&machine, |request| request["run"] = "journal".into()), "run is not a name"),
        (
            request(&machine, |request| request["work"] = json!({ "follow": "../../../root/other" })),
            "run is not a name",
        ),
        (request(&machine, |request| request["work"]["switch"]["settle"] = u64::MAX.into()), "longer than an hour"),
        (
            request(&machine, |request| request["work"]["switch"]["acknowledge"] = u64::MAX.into()),
            "longer than an hour",
        ),
        (request(&machine, |request| request["root"] = "/nonexistent".into()), "there is no directory"),
        (request(&machine, |request| request["work"]["switch"]["system"] = "/etc".into()), "not a store path"),
        (request(&machine, |request| request["work"]["switch"]["bundle"] = "/etc".into()), "not a store path"),
        (
            request(&machine, |request| {
                request["work"]["switch"]["system"] = "/nix/store/00000000000000000000000000000000-x".into();
            }),
            "is not in the store of",
        ),
        (
            request(&machine, |request| request["work"]["switch"]["expected"] = Value::Null),
            "the running system has changed",
        ),
        (request(&machine, |request| request["host"] = "-o".into()), "not well formed"),
    ];
    for (request, says) in requests {
        let (run, last) = give(&machine, &request.to_string());
        assert!(run.code == 1 && last["outcome"] == "failed", "{run:?}");
        assert!(last["failure"].to_string().contains(says), "`{says}` is not in {last}");
        assert!(!run.text().contains("of somebody else"), "{run:?}");
    }
    let (_, last) = give(&machine, "{");
    assert_eq!(last["failure"]["code"], 2);
    assert!(machine.calls().is_empty() && machine.state() == before);
}

#[test]
fn nix_nobody_else_can_write_where_root_reads_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    if cannot_deploy("host-run under a wide umask") {
        return;
    }
    let machine = Machine::running("{ }");
    std::fs::remove_dir_all(machine.root.join("var/lib/sealift")).unwrap();
    let inner = machine.host_command(&["host-run"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    shell.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let run = machine.sandbox.run(shell, request(&machine, |_| {}).to_string().as_bytes());
    assert_eq!(run.code, 0, "{run:?}");
    // Anyone who can place a journal there makes root activate a system of their own.
    for folder in ["var/lib/sealift", "var/lib/sealift/deploy"] {
        let mode = machine.root.join(folder).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o022, 0, "{folder} is {mode:o}");
    }
}

#[test]
fn nix_nothing_is_left_to_recover_after_an_order() {
    if cannot_deploy("host-run that recovers") {
        return;
    }
    let machine = Machine::running("{ }");
    assert_eq!(machine.ask(&"recover".into())["outcome"], "nothing");
    // An invalid journal is not guessed at.
    std::fs::write(machine.root.join("var/lib/sealift/deploy/journal.json"), "{").unwrap();
    let (_, last) = give(&machine, &request(&machine, |_| {}).to_string());
    assert_eq!(last["failure"]["code"], 9);
    machine.deploy(&[]).exits(9).says("its journal cannot be read");
    assert!(machine.calls().is_empty());
}

/// The journal of a run of this name, killed while it activated the running system; `before` ran before it.
fn killed(request: &Value, before: &str) -> Value {
    json!({
        "version": 1, "order": request, "reached": "activate", "back": false, "boot": null,
        "saved": {
            "system": before, "generation": 2, "generation_system": null, "generations": [1, 2],
            "secrets": { "users": null, "ordinary": null }, "bundle": null, "failed": null
        }
    })
}

#[test]
fn nix_a_result_ends_its_own_run_and_no_other() {
    if cannot_deploy("results of runs") {
        return;
    }
    let machine = Machine::running("{ }");
    let first = machine.link("run/current-system");
    machine.system("{ etc.motd = \"2\"; }");
    machine.deploy(&[]).exits(0);
    let kept = machine.root.join("var/lib/sealift/deploy");
    let (journal, ran) = (kept.join("journal.json"), machine.state());
    let named = |name: &str| request(&machine, |request| request["run"] = name.into());
    let unchanged = |why: &str| assert_eq!((machine.calls(), machine.state()), (vec![], ran.clone()), "{why}");
    let result = |name: &str, text: &str| std::fs::write(kept.join(format!("{name}.json")), text).unwrap();
    let done = json!({ "outcome": "done", "generation": 2, "running": null, "until_reboot": false }).to_string();

    // A second run of the same name: when killed, it would be taken for the first, which is done.
    let (_, last) = give(&machine, &named("20260101T000000Z-once").to_string());
    assert_eq!(last["outcome"], "done");
    machine.forget_calls();
    let (_, last) = give(&machine, &named("20260101T000000Z-once").to_string());
    assert!(last["failure"].to_string().contains("has ended on this machine"), "{last}");
    unchanged("a second run of a name");

    // A run with the oldest name, as from a slow clock, is not removed before it is read.
    for number in 0..60 {
        std::fs::write(kept.join(format!("20990101T0000{number:02}Z-x.log")), "").unwrap();
    }
    result("20000101T000000Z-old", &done);
    std::fs::write(&journal, killed(&named("20000101T000000Z-old"), &first).to_string()).unwrap();
    assert_eq!(machine.ask(&"recover".into())["outcome"], "done");
    unchanged("a run that has ended");
    assert!(!journal.exists());
    // Nor is the log of a running one.
    give(&machine, &named("20010101T000000Z-now").to_string());
    assert!(kept.join("20010101T000000Z-now.log").exists());
    machine.forget_calls();

    // An invalid result is no reason to roll back.
    result("20260102T000000Z-torn", "{\"outcome\": \"nobody knows\"");
    std::fs::write(&journal, killed(&named("20260102T000000Z-torn"), &first).to_string()).unwrap();
    let last = machine.ask(&"recover".into());
    assert_eq!(last["failure"]["code"], 9, "{last}");
    unchanged("a result that cannot be read");
    assert!(journal.exists());
}

#[test]
fn nix_nothing_of_another_user_is_believed() {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    if cannot_deploy("state of another user") {
        return;
    }
    let machine = Machine::running("{ }");
    let first = machine.link("run/current-system");
    machine.system("{ etc.motd = \"2\"; }");
    machine.deploy(&[]).exits(0);
    machine.forget_calls();
    let kept = machine.root.join("var/lib/sealift");
    let folder = kept.join("deploy");
    let journal = folder.join("journal.json");
    let before = machine.state();
    let recover = || machine.ask(&"recover".into());
    // The previous system is activated again.
    let left = killed(&request(&machine, |_| {}), &first);
    std::fs::write(&journal, left.to_string()).unwrap();
    let open = |path: &std::path::Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let whose = |path: &std::path::Path, user| chown(path, Some(user), None).unwrap();
    let not_believed = |why: &str| {
        let last = recover();
        assert!(last["failure"].to_string().contains(why), "{why}: {last}");
        assert_eq!((machine.calls(), machine.state()), (vec![], before.clone()), "{why}");
        assert!(journal.exists(), "{why}");
    };
    for path in [&folder, &kept] {
        whose(path, 1);
        not_believed("belongs to another user");
        whose(path, 0);
        open(path, 0o777);
        not_believed("can be written to by everybody");
        open(path, 0o755);
    }
    whose(&journal, 1);
    not_believed("may belong to somebody else");
    whose(&journal, 0);
    open(&journal, 0o666);
    not_believed("may belong to somebody else");
    open(&journal, 0o644);
    std::fs::rename(&folder, kept.join("elsewhere")).unwrap();
    symlink("elsewhere", &folder).unwrap();
    std::os::unix::fs::lchown(&folder, Some(1), None).unwrap();
    not_believed("or a link that another user could have made");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(kept.join("elsewhere"), &folder).unwrap();
    // It is, if it belongs to root alone.
    assert_eq!(recover()["outcome"], "rolled-back");
    assert_eq!((machine.calls(), machine.link("run/current-system")), (vec!["test 0".to_owned()], first));
    assert!(!journal.exists());
}

#[test]
fn both_programs_have_the_same_words_for_a_host() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("token", &["--hosts", "web"]);
    let manifest = sandbox.sealift(&["manifest", "web"]).exits(0);
    sandbox.write("manifest.json", manifest.text());
    let at = sandbox.fleet().join("manifest.json").display().to_string();
    let said = |program: &str, words: &[&str]| {
        let mut command = sandbox.command(program);
        command.current_dir(sandbox.fleet()).args(words);
        let run = sandbox.run(command, b"");
        (run.code, run.text(), run.stderr)
    };
    let host = env!("CARGO_BIN_EXE_sealift-host");
    for (words, code) in [
        (&["install", "--check", &at][..], 0),
        (&["install", "--check", "--json", &at], 0),
        (&["-q", "install", "--check", &at], 0),
        (&["install", "--check", "/nothing"], 2),
        (&["install", "--check", "--strict", &at], 2),
        (&["host-run", "--protocol"], 0),
        (&["host-run", "--acknowledge", "../x"], 2),
        (&["host-run", "--wait"], 2),
    ] {
        let ours = said(host, words);
        assert_eq!(ours.0, code, "{words:?}: {}", ours.2);
        // clap's messages differ only in the program's name.
        let theirs = said(env!("CARGO_BIN_EXE_sealift"), words);
        assert_eq!((ours.0, ours.1, ours.2.replace("sealift-host", "sealift")), theirs, "{words:?}");
    }
    assert_eq!(said(host, &["show", "token"]).0, 2, "it has no other verbs");
}
