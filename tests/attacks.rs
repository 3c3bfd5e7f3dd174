//! Attacks and accidents of docs/attacks.md that no other test covers.

use crate::crash::{can_inject, nothing_is_left, with_fault};
use crate::harness::{Run, Sandbox};
use crate::identity::on_terminal;
use crate::weak_keys::age1;

const SEALIFT: &str = env!("CARGO_BIN_EXE_sealift");

/// Runs a shell script in the fleet's directory, with the program under test as `$S`.
fn shell(sandbox: &Sandbox, script: &str) -> Run {
    let mut command = sandbox.command("bash");
    command.args(["-c", script]).env("S", SEALIFT);
    sandbox.run(command, b"")
}

/// Asserts a usage error with this message, and no internal defect.
#[track_caller]
fn refused(run: Run, why: &str) {
    let run = run.exits(2).says(why);
    assert!(!run.stderr.contains("defect"), "{}", run.stderr);
}

#[test]
fn a_policy_that_is_cut_doubled_or_for_nobody_is_refused() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let policy = sandbox.read("recipients.toml");
    let check = |text: &str| {
        sandbox.write("recipients.toml", text);
        sandbox.sealift(&["check"])
    };
    // Truncated anywhere: an error or a smaller fleet, but never an internal defect.
    for cut in (0..policy.len()).step_by(7) {
        let run = check(policy.get(..cut).expect("ASCII"));
        assert!(matches!(run.code, 0 | 2 | 3), "{cut}: {run:?}");
    }
    let key = sandbox.ssh_key("other");
    refused(check(&format!("{policy}\n[hosts.\"web\"]\nkeys = [\"{key}\"]\n")), "this key is given twice");
    for name in ["Web", "w\u{e9}b", "we\u{301}b", "w\u{0435}b"] {
        refused(check(&format!("{policy}\n[hosts.\"{name}\"]\nkeys = [\"{key}\"]\n")), "not a host name");
    }
    // Without an admin nobody could rekey.
    let jay = sandbox.key("jay");
    let nobody = policy.lines().filter(|line| !line.starts_with("jay = ")).collect::<Vec<_>>().join("\n");
    sandbox.write("recipients.toml", format!("{nobody}\n"));
    sandbox.sealift(&["check"]).exits(3).prints("admin");
    let run = sandbox.sealift_with(&["seal", "b", "--hosts", "web", "--stdin"], sandbox.value("b").as_bytes());
    refused(run, "no admin");
    sandbox.write("recipients.toml", &policy);
    sandbox.sealift(&["show", "a", "-i", &jay]).exits(0);
}

#[test]
fn whatever_stands_in_the_policys_place_is_not_waited_for() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let path = sandbox.fleet().join("recipients.toml");
    let policy = sandbox.read("recipients.toml");
    let instead = |make: &dyn Fn()| {
        std::fs::remove_file(&path).expect("removed");
        make();
        let run = sandbox.sealift(&["check"]);
        assert!(!matches!(run.code, 0 | 70), "{run:?}");
        if path.is_dir() {
            std::fs::remove_dir(&path).expect("removed");
        } else {
            std::fs::remove_file(&path).expect("removed");
        }
        std::fs::write(&path, &policy).expect("written");
    };
    let place = path.to_str().expect("UTF-8");
    instead(&|| drop(sandbox.tool("mkfifo", &[place])));
    instead(&|| std::fs::create_dir(&path).expect("a folder"));
    instead(&|| std::os::unix::fs::symlink("/dev/zero", &path).expect("a link"));
    // Large and empty.
    instead(&|| std::fs::File::create(&path).and_then(|file| file.set_len(1 << 26)).expect("a large file"));
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn ten_thousand_hosts_are_read() {
    let key = |number: u16| {
        let mut point = [7; 32];
        point[..2].copy_from_slice(&number.to_le_bytes());
        age1(point)
    };
    let text: String = (0..10_000).map(|number| format!("[hosts.h{number}]\nkeys = [\"{}\"]\n", key(number))).collect();
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write("recipients.toml", format!("{}\n{text}", sandbox.read("recipients.toml")));
    sandbox.sealift(&["check"]).exits(0).says("for 10001 hosts");
}

#[test]
fn names_that_are_paths_options_or_files_are_refused_before_anything_is_read() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let before = sandbox.read("recipients.toml");
    let long = "x".repeat(256);
    for name in ["../x", "/etc/x", "a\nb", "", ".", "a//b", ".git/x", &long, "a b", "a;b", "$(x)", "a'b"] {
        let run = sandbox.sealift_with(&["seal", "--hosts", "web", "--stdin", "--", name], b"value");
        assert_eq!(run.code, 2, "{name:?}: {}", run.stderr);
    }
    assert_eq!(sandbox.read("recipients.toml"), before);
    assert!(!sandbox.fleet().join("secrets").exists());
}

#[test]
fn files_that_are_long_or_twice_in_one_are_refused() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let path = sandbox.fleet().join("secrets/a.age");
    let armored = sandbox.path("armored");
    let jay = String::from_utf8(sandbox.tool("age-keygen", &["-y", &sandbox.key("jay")])).expect("UTF-8");
    let plain = sandbox.path("plain");
    sandbox.allow(&plain);
    std::fs::write(&plain, sandbox.value("a")).expect("written");
    let out = armored.to_str().expect("UTF-8");
    sandbox.tool("age", &["-a", "-r", jay.trim(), "-o", out, plain.to_str().expect("UTF-8")]);
    let one = std::fs::read(&armored).expect("an armored file");
    std::fs::write(&path, [&one[..], &one[..]].concat()).expect("written");
    sandbox.sealift(&["show", "a", "-i", &sandbox.key("jay")]).exits(8);
    // Too large, so nothing of it is read.
    std::fs::File::create(&path).and_then(|file| file.set_len(1 << 26)).expect("a large file");
    sandbox.sealift(&["check"]).exits(3);
    let run = sandbox.sealift(&["show", "a", "-i", &sandbox.key("jay")]);
    assert!(!matches!(run.code, 0 | 70), "{run:?}");
    assert!(run.stderr.contains("16"), "the limit is told: {}", run.stderr);
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a folder");
    sandbox.sealift(&["check"]).exits(3);
    let run = sandbox.sealift_with(&["rotate", "a", "--stdin"], sandbox.value("new").as_bytes());
    assert!(!matches!(run.code, 0 | 70) && path.is_dir(), "{run:?}");
}

#[test]
fn values_at_the_edges_of_chunks_and_limits_are_the_same_bytes_again() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let byte = |at: usize| u8::try_from(at * 7 % 251).expect("a byte");
    for size in [1, 65_535, 65_536, 65_537, 131_072, 1 << 20] {
        let value: Vec<u8> = (0..size).map(byte).collect();
        sandbox.sealift_with(&["seal", &format!("s{size}"), "--hosts", "web", "--stdin"], &value).exits(0);
        assert!(sandbox.show(&format!("s{size}"), "web") == value, "{size}");
    }
    let large: Vec<u8> = (0..=1 << 20).map(byte).collect();
    let run = sandbox.sealift_with(&["seal", "large", "--hosts", "web", "--stdin"], &large);
    assert!(run.code != 0 && !sandbox.fleet().join("secrets/large.age").exists(), "{}", run.stderr);
    refused_empty(&sandbox);
}

/// Empty or closed input is not a value.
fn refused_empty(sandbox: &Sandbox) {
    let before = sandbox.read("recipients.toml");
    for script in ["\"$S\" seal e --hosts web --stdin </dev/null", "\"$S\" seal e --hosts web --stdin <&-"] {
        let run = shell(sandbox, script);
        assert!(!matches!(run.code, 0 | 70), "{run:?}");
    }
    assert_eq!(sandbox.read("recipients.toml"), before);
    let run = on_terminal(sandbox, "spawn $env(S) seal e --hosts web --stdin\nends\n");
    assert!(run.text().contains("<2>"), "a terminal is no input: {}", run.text());
}

#[test]
fn a_host_that_gets_the_key_it_has_changes_nothing() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let files =
        || (sandbox.read("recipients.toml"), std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("there"));
    let before = files();
    let public = format!("{}.pub", sandbox.key("web"));
    let run = sandbox.sealift(&["host", "rekey", "web", "--key-file", &public, "-i", &sandbox.key("jay")]);
    assert!(!matches!(run.code, 70 | 101), "{run:?}");
    assert!(files() == before, "{}", run.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = vec![b'x'; 1 << 20];
    sandbox.sealift_with(&["seal", "a", "--hosts", "web", "--stdin"], &value).exits(0);
    let script = format!("\"$S\" show a -i '{}' | head -c 1; exit ${{PIPESTATUS[0]}}", sandbox.key("jay"));
    let run = shell(&sandbox, &script).exits(0);
    assert_eq!((run.stdout.as_slice(), run.stderr.as_str()), (&b"x"[..], ""));
}

#[test]
fn errors_of_the_file_system_leave_the_old_value_or_the_new() {
    if !can_inject("errors_of_the_file_system_leave_the_old_value_or_the_new") {
        return;
    }
    for (call, fault) in [
        ("write", "error=EDQUOT"),
        ("write", "error=EINTR"),
        ("openat", "error=EACCES"),
        ("fchmod", "error=EPERM"),
        ("renameat", "error=EACCES"),
    ] {
        let mut faults = 0;
        for nth in [1, 2, 3, 5, 8, 13, 21] {
            let sandbox = Sandbox::with_fleet(&["web"]);
            let old = sandbox.seal("a", &["--hosts", "web"]);
            let new = sandbox.path("new-value");
            sandbox.allow(&new);
            std::fs::write(&new, sandbox.value("new")).expect("written");
            let (_, struck) =
                with_fault(&sandbox, call, fault, nth, &["rotate", "a", "--from-file", new.to_str().expect("UTF-8")]);
            faults += usize::from(struck);
            let shown = sandbox.show("a", "jay");
            assert!(shown == old.as_bytes() || shown == sandbox.value("new").as_bytes(), "{call} {fault} {nth}");
            sandbox.sealift(&["rekey"]).exits(0);
            nothing_is_left(&sandbox);
        }
        assert!(faults > 0, "no fault at {call}");
    }
}

#[test]
fn little_memory_and_a_small_stack_lose_nothing() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    for limit in ["--as=20000000", "--as=60000000", "--stack=100000"] {
        let mut command = sandbox.command("prlimit");
        command.args([limit, SEALIFT, "rotate", "a", "--stdin"]);
        sandbox.run(command, sandbox.value("new").as_bytes());
        let shown = sandbox.show("a", "jay");
        assert!(shown == value.as_bytes() || shown == sandbox.value("new").as_bytes(), "{limit}");
        sandbox.sealift(&["rekey"]).exits(0);
        nothing_is_left(&sandbox);
    }
}

#[test]
fn a_clone_of_any_kind_is_a_fleet() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.tool("git", &["commit", "-q", "-m", "a"]);
    sandbox.tool("git", &["checkout", "-q", "--detach"]);
    sandbox.sealift(&["check"]).exits(0);
    sandbox.tool("git", &["worktree", "add", "-q", "../tree"]);
    let url = format!("file://{}", sandbox.fleet().display());
    sandbox.tool("git", &["clone", "-q", "--depth", "1", &url, "../shallow"]);
    std::fs::create_dir(sandbox.fleet().join("below")).expect("a folder");
    for place in ["tree", "shallow", "fleet/below"] {
        let mut command = sandbox.command(SEALIFT);
        command.arg("check").current_dir(sandbox.path(place));
        sandbox.run(command, b"").exits(0);
        let mut command = sandbox.command(SEALIFT);
        command.args(["rotate", "a", "--stdin"]).current_dir(sandbox.path(place));
        sandbox.run(command, sandbox.value(&place.replace('/', "-")).as_bytes()).exits(0);
    }
    sandbox.tool("git", &["clone", "-q", "--bare", &url, "../bare"]);
    let mut command = sandbox.command(SEALIFT);
    command.arg("check").current_dir(sandbox.path("bare"));
    let run = sandbox.run(command, b"");
    assert!(!matches!(run.code, 0 | 70), "{run:?}");
}

#[test]
fn what_the_environment_asks_for_shows_no_value() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    let loud = "RUST_BACKTRACE=full RUST_LOG=trace AGEDEBUG=plugin PINENTRY_PROGRAM=/bin/cat GIT_TRACE=1";
    let jay = sandbox.key("jay");
    let run = shell(&sandbox, &format!("{loud} \"$S\" show a -i '{jay}' >/dev/null"));
    assert!(!run.stderr.contains(&value), "{}", run.stderr);
    let run = shell(&sandbox, &format!("printf %s {value} | {loud} \"$S\" rotate a --stdin"));
    sandbox.remember(&run);
    run.exits(0);
    // Child processes do not get it.
    let bin = sandbox.path("bin");
    std::fs::create_dir(&bin).expect("a folder");
    std::fs::write(bin.join("git"), "#!/bin/sh\nenv >> \"$HOME/environment\"\nexec /usr/bin/git \"$@\"\n")
        .expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("git"), mode).expect("a program");
    let with = format!("PATH={}:$PATH LD_PRELOAD=/nowhere.so LD_AUDIT=/nowhere.so {loud} \"$S\" check", bin.display());
    shell(&sandbox, &with);
    let seen = std::fs::read_to_string(sandbox.path("home/environment")).expect("git was run");
    assert!(!["LD_PRELOAD", "LD_AUDIT", "AGEDEBUG"].iter().any(|name| seen.contains(name)), "{seen}");
    // The help does not show the content of variables.
    for script in ["\"$S\" --help", "\"$S\" show --help", "\"$S\" scan --help"] {
        let run = shell(
            &sandbox,
            &format!("SEALIFT_IDENTITY={value} SEALIFT_FLEET={value} SEALIFT_INDEX_KEY={value} {script}"),
        );
        assert!(run.code == 0 && !run.text().contains(&value), "{}", run.text());
    }
}

#[test]
fn it_leaves_no_core_file() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    // Core dumps are disabled while it waits for input, so a signal that dumps core leaves no file.
    let script = "mkfifo in; exec 9<>in; ulimit -c unlimited; \"$S\" seal a --hosts web --stdin <&9 & \
        until grep -q 'core file size *0 *0' /proc/$!/limits; do kill -0 $! || exit 9; done; \
        kill -ABRT $!; wait $!; echo $?; ls | grep -c '^core' || true";
    let run = shell(&sandbox, script).exits(0);
    assert_eq!(run.text(), "134\n0\n", "{}", run.stderr);
    std::fs::remove_file(sandbox.fleet().join("in")).expect("removed");
}

#[test]
fn a_value_that_would_act_on_a_terminal_is_not_printed_to_one() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    for (name, value) in
        [("esc", "a\u{1b}]0;title\u{7}b"), ("c1", "a\u{9b}2Jb"), ("bidi", "a\u{202e}b"), ("line", "a\u{2028}b")]
    {
        sandbox.sealift_with(&["seal", name, "--hosts", "web", "--stdin"], value.as_bytes()).exits(0);
        let script = format!("spawn $env(S) show {name} -i {}\nends\n", sandbox.key("jay"));
        let run = on_terminal(&sandbox, &script);
        assert!(run.text().contains("is not plain text") && run.text().contains("<1>"), "{name}: {}", run.text());
        assert!(!run.text().contains(value), "{name}");
        assert_eq!(sandbox.show(name, "jay"), value.as_bytes());
    }
}
