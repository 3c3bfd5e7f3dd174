//! Killed or failing at any system call that changes the file system: afterwards every secret is the old or the new
//! one, the next run completes or undoes the rest, and no files are left over. strace injects the faults.

use crate::harness::{Run, Sandbox, not_run};

/// Whether faults can be injected here; notes if not.
pub fn can_inject(test: &str) -> bool {
    let probe = std::process::Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).status();
    let can = probe.is_ok_and(|status| status.success());
    if !can {
        not_run(test, "strace is not installed, or may not trace here");
    }
    can
}

/// Runs sealift under strace with a fault at the n-th call of a system call; returns whether that call was reached.
#[track_caller]
pub fn with_fault(sandbox: &Sandbox, call: &str, fault: &str, nth: usize, arguments: &[&str]) -> (Run, bool) {
    let mut command = sandbox.command("strace");
    let log = sandbox.path("strace.log");
    command.args(["-f", "-q", "-o"]).arg(&log).args([
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={call}:{fault}:when={nth}"),
    ]);
    command.arg(env!("CARGO_BIN_EXE_sealift")).args(arguments);
    let run = sandbox.run(command, b"");
    let text = std::fs::read(&log).expect("strace wrote its log");
    let text = String::from_utf8_lossy(&text);
    let struck = ["(INJECTED)", "+++ killed by SIGKILL", "--- SIGINT "].iter().any(|mark| text.contains(mark));
    // Without a fault it must succeed: otherwise strace itself fails.
    assert!(struck || run.code == 0, "{call} {nth}: {}", run.stderr);
    (run, struck)
}

/// A fleet of three shared secrets, and the key of a host to be added.
fn fleet() -> (Sandbox, Vec<(String, String)>, String) {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let values = ["a", "b/c", "d"].map(|name| (name.to_owned(), sandbox.seal(name, &["--hosts", "*"]))).to_vec();
    sandbox.tool("git", &["add", "-A"]);
    sandbox.tool("git", &["commit", "-q", "-m", "three"]);
    let key = sandbox.ssh_key("new");
    (sandbox, values, key)
}

/// Asserts that no temporary file is left.
#[track_caller]
pub fn nothing_is_left(sandbox: &Sandbox) {
    let left = String::from_utf8(sandbox.tool("find", &[".", "-name", ".sealift-tmp-*"])).expect("UTF-8");
    assert_eq!(left, "");
    assert!(!sandbox.fleet().join(".git/sealift/journal").exists());
}

#[test]
fn a_killed_host_add_is_whole_or_undone() {
    if !can_inject("a_killed_host_add_is_whole_or_undone") {
        return;
    }
    for call in ["renameat", "fsync", "syncfs", "unlinkat"] {
        let mut faults = 0;
        for nth in 1..=12 {
            let (sandbox, values, key) = fleet();
            let before = sandbox.read("recipients.toml");
            let identity = sandbox.key("jay");
            let arguments = ["host", "add", "new", "--key", &key, "--identity", &identity];
            let (run, struck) = with_fault(&sandbox, call, "signal=KILL", nth, &arguments);
            faults += usize::from(struck);
            let survived = run.code == 0;
            // Whatever happened, every value opens before anything else runs.
            for (name, value) in &values {
                assert_eq!(sandbox.show(name, "jay"), value.as_bytes(), "{call} {nth}");
            }
            // Read-only commands report it.
            if sandbox.fleet().join(".git/sealift/journal").exists() {
                sandbox.sealift(&["check"]).exits(3).prints("is not completed yet");
            }
            // Any writing verb completes or drops the rest.
            sandbox.sealift(&["rekey", "--identity", &identity]).exits(0);
            nothing_is_left(&sandbox);
            sandbox.sealift(&["check"]).exits(0);
            let joined = sandbox.read("recipients.toml") != before;
            for (name, _) in &values {
                sandbox.sealift(&["show", name, "--identity", &sandbox.key("new")]).exits(if joined { 0 } else { 5 });
            }
            if survived {
                assert!(joined, "{call} {nth}");
                break;
            }
        }
        assert!(faults > 0, "no fault at {call}");
    }
}

#[test]
fn a_killed_host_add_leaves_no_part_of_a_machine() {
    if !can_inject("a_killed_host_add_leaves_no_part_of_a_machine") {
        return;
    }
    for call in ["renameat", "syncfs", "mkdirat"] {
        let mut faults = 0;
        for nth in 1..=12 {
            let (sandbox, values, _) = fleet();
            sandbox.write("hosts/web/default.nix", "{ }\n");
            sandbox.write("home/web.nix", "{ }\n");
            let identity = sandbox.key("jay");
            let arguments = ["host", "add", "new", "--generate", "--identity", &identity];
            let (run, struck) = with_fault(&sandbox, call, "signal=KILL", nth, &arguments);
            faults += usize::from(struck);
            for (name, value) in &values {
                assert_eq!(sandbox.show(name, "jay"), value.as_bytes(), "{call} {nth}");
            }
            sandbox.sealift(&["rekey", "--identity", &identity]).exits(0);
            nothing_is_left(&sandbox);
            let joined = sandbox.read("recipients.toml").contains("hosts.new");
            for file in ["hosts/new/default.nix", "home/new.nix", "secrets/host-keys/new.age"] {
                assert_eq!(sandbox.fleet().join(file).exists(), joined, "{call} {nth}: {file}");
            }
            if run.code == 0 {
                assert!(joined, "{call} {nth}");
                break;
            }
        }
        assert!(faults > 0, "no fault at {call}");
    }
}

#[test]
fn a_killed_provision_leaves_a_whole_key_or_none() {
    if !can_inject("a_killed_provision_leaves_a_whole_key_or_none") {
        return;
    }
    let sandbox = Sandbox::with_fleet(&["web"]);
    let identity = sandbox.key("jay");
    sandbox.sealift(&["host", "add", "new", "--generate", "--identity", &identity]).exits(0);
    for call in ["write", "fchmod", "fsync", "linkat", "unlinkat"] {
        let mut faults = 0;
        for nth in 1..=4 {
            let root = sandbox.path(&format!("root-{call}-{nth}"));
            std::fs::create_dir(&root).expect("made");
            sandbox.allow(&root);
            let place = root.to_str().expect("UTF-8");
            let arguments = ["host", "provision", "new", "--root", place, "--identity", &identity];
            let (run, struck) = with_fault(&sandbox, call, "signal=KILL", nth, &arguments);
            faults += usize::from(struck);
            let key = root.join("etc/ssh/ssh_host_ed25519_key");
            if key.exists() {
                sandbox.tool("ssh-keygen", &["-y", "-f", key.to_str().expect("UTF-8")]);
            }
            sandbox.sealift(&arguments).exits(0);
            sandbox.tool("ssh-keygen", &["-y", "-f", key.to_str().expect("UTF-8")]);
            let mut names: Vec<_> = std::fs::read_dir(root.join("etc/ssh"))
                .expect("read")
                .map(|entry| entry.expect("one").file_name().into_string().expect("UTF-8"))
                .collect();
            names.sort();
            assert_eq!(names, ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"], "{call} {nth}");
            if run.code == 0 {
                break;
            }
        }
        assert!(faults > 0, "no fault at {call}");
    }
}

#[test]
fn a_killed_seal_leaves_the_old_or_the_new_value() {
    if !can_inject("a_killed_seal_leaves_the_old_or_the_new_value") {
        return;
    }
    for call in ["openat", "write", "fchmod", "fsync", "renameat"] {
        let mut faults = 0;
        for nth in [1, 2, 3, 5, 8, 13, 21, 34] {
            let sandbox = Sandbox::with_fleet(&["web"]);
            let old = sandbox.seal("a", &["--hosts", "web"]);
            let new = sandbox.path("new-value");
            sandbox.allow(&new);
            std::fs::write(&new, sandbox.value("new")).expect("written");
            let (run, struck) = with_fault(
                &sandbox,
                call,
                "signal=KILL",
                nth,
                &["seal", "a", "--replace", "--from-file", new.to_str().expect("UTF-8")],
            );
            faults += usize::from(struck);
            let shown = sandbox.show("a", "jay");
            assert!(shown == old.as_bytes() || shown == sandbox.value("new").as_bytes(), "{call} {nth}");
            sandbox.sealift(&["rekey"]).exits(0);
            nothing_is_left(&sandbox);
            if run.code == 0 {
                break;
            }
        }
        assert!(faults > 0, "no fault at {call}");
    }
}

#[test]
fn a_disk_that_fails_changes_nothing() {
    if !can_inject("a_disk_that_fails_changes_nothing") {
        return;
    }
    for (call, fault) in
        [("write", "error=ENOSPC"), ("fsync", "error=EIO"), ("renameat", "error=EROFS"), ("openat", "error=EMFILE")]
    {
        let mut faults = 0;
        for nth in 1..=40 {
            let sandbox = Sandbox::with_fleet(&["web"]);
            let old = sandbox.seal("a", &["--hosts", "web"]);
            let new = sandbox.path("new-value");
            sandbox.allow(&new);
            std::fs::write(&new, sandbox.value("new")).expect("written");
            let (run, struck) = with_fault(
                &sandbox,
                call,
                fault,
                nth,
                &["seal", "a", "--replace", "--from-file", new.to_str().expect("UTF-8")],
            );
            faults += usize::from(struck);
            let shown = sandbox.show("a", "jay");
            assert!(shown == old.as_bytes() || shown == sandbox.value("new").as_bytes(), "{call} {nth}");
            nothing_is_left(&sandbox);
            if run.code == 0 && nth > 3 {
                break;
            }
        }
        assert!(faults > 0, "no fault at {call}");
    }
}

#[test]
fn a_full_disk_is_told_and_the_old_value_stays() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let old = sandbox.seal("a", &["--hosts", "web"]);
    let mut command = sandbox.command("prlimit");
    // A file size limit of 100 bytes: like a full disk, but without a mount.
    command.args(["--fsize=100", env!("CARGO_BIN_EXE_sealift"), "seal", "a", "--replace", "--stdin"]);
    let run = sandbox.run(command, sandbox.value("new").as_bytes());
    assert_ne!(run.code, 0);
    assert_eq!(sandbox.show("a", "jay"), old.as_bytes());
    sandbox.sealift(&["rekey"]).exits(0);
    nothing_is_left(&sandbox);
}

#[test]
fn interrupted_work_says_so_and_changes_nothing() {
    if !can_inject("interrupted_work_says_so_and_changes_nothing") {
        return;
    }
    let (sandbox, values, key) = fleet();
    let before = sandbox.read("recipients.toml");
    // The signal arrives while the first sealed file is read.
    let identity = sandbox.key("jay");
    let (run, _) = with_fault(
        &sandbox,
        "openat2",
        "signal=INT",
        1,
        &["host", "add", "new", "--key", &key, "--identity", &identity],
    );
    run.exits(130).says("interrupted");
    assert_eq!(sandbox.read("recipients.toml"), before);
    for (name, value) in &values {
        assert_eq!(sandbox.show(name, "jay"), value.as_bytes());
    }
    nothing_is_left(&sandbox);
}

#[test]
fn two_at_once_do_not_mix() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let lock = std::fs::File::open(sandbox.fleet().join(".git/sealift/lock")).expect("the lock is there");
    lock.lock().expect("locked");
    sandbox
        .sealift_with(&["seal", "a", "--replace", "--stdin"], sandbox.value("b").as_bytes())
        .exits(1)
        .says("another sealift is running here");
    // Reading works meanwhile.
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn a_busy_index_loses_nothing() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write(".git/index.lock", "");
    let value = sandbox.value("a");
    sandbox
        .sealift_with(&["seal", "a", "--hosts", "web", "--stdin"], value.as_bytes())
        .exits(0)
        .says("not added to git");
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
    std::fs::remove_file(sandbox.fleet().join(".git/index.lock")).expect("removed");
    sandbox.sealift(&["check"]).exits(3).prints("git does not track it");
}

#[test]
fn the_umask_decides_nothing() {
    use std::os::unix::fs::PermissionsExt;
    for umask in ["000", "077", "777"] {
        let sandbox = Sandbox::with_fleet(&["web"]);
        let mut command = sandbox.command("sh");
        command.args([
            "-c",
            &format!("umask {umask}; exec \"$0\" \"$@\""),
            env!("CARGO_BIN_EXE_sealift"),
            "seal",
            "a",
            "--hosts",
            "web",
            "--stdin",
        ]);
        sandbox.run(command, sandbox.value("a").as_bytes()).exits(0);
        let mode = std::fs::metadata(sandbox.fleet().join("secrets/a.age")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "umask {umask}");
    }
}
