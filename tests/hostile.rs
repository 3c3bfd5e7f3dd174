//! A repository that somebody else can write to: nothing in it runs a program, and nothing makes git store other bytes
//! than were sealed.

use crate::harness::Sandbox;

#[test]
fn what_looks_like_another_repository_is_not_taken_for_this_one() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    // A bare repository in a folder, with a filter that would run; reached where `.git` is a file.
    for (name, text) in [
        ("sub/HEAD", "ref: refs/heads/main\n"),
        ("sub/objects/.keep", ""),
        ("sub/refs/.keep", ""),
        ("sub/.gitattributes", "*.age filter=x\n"),
    ] {
        sandbox.write(name, text);
    }
    let config =
        "[core]\n repositoryformatversion=0\n bare=false\n worktree=.\n[filter \"x\"]\n clean=touch ../../ran; cat\n";
    sandbox.write("sub/config", config);
    sandbox.write("sub/recipients.toml", sandbox.read("recipients.toml"));
    sandbox.tool("git", &["add", "-Af"]);
    sandbox.tool("git", &["commit", "-q", "-m", "trap"]);
    sandbox.tool("git", &["worktree", "add", "-q", "../wt", "HEAD"]);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(["seal", "c", "--hosts", "web", "--stdin"]).current_dir(sandbox.path("wt/sub"));
    let run = sandbox.run(command, sandbox.value("c").as_bytes());
    assert_ne!(run.code, 0, "{}", run.stderr);
    assert!(!sandbox.path("ran").exists() && !sandbox.path("wt/ran").exists());
}

#[test]
fn another_repository_in_the_environment_is_left_alone() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.tool("git", &["init", "-q", "../other"]);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(["seal", "c", "--hosts", "web", "--stdin"]).env("GIT_DIR", sandbox.path("other/.git"));
    sandbox.run(command, sandbox.value("c").as_bytes()).exits(0);
    assert!(!sandbox.path("other/.git/index").exists());
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn git_keeps_the_very_bytes_that_were_sealed() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write("secrets/.gitattributes", "*.age ident text eol=crlf filter=up\n");
    sandbox.tool("git", &["config", "filter.up.clean", "touch ../ran; tr a-z A-Z"]);
    for name in ["a", "b", "c"] {
        sandbox.seal(name, &["--hosts", "web"]);
        let staged = sandbox.tool("git", &["show", &format!(":secrets/{name}.age")]);
        assert_eq!(staged, std::fs::read(sandbox.fleet().join(format!("secrets/{name}.age"))).expect("read"));
    }
    assert!(!sandbox.path("ran").exists());
}

#[test]
fn fleets_of_one_repository_do_not_share_a_journal() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let policy = sandbox.read("recipients.toml");
    for fleet in ["one", "two"] {
        sandbox.write(&format!("{fleet}/recipients.toml"), &policy);
    }
    std::fs::create_dir_all(sandbox.fleet().join(".git/sealift/fleets/one")).expect("made");
    sandbox.write(".git/sealift/fleets/one/journal", "an interrupted change of the first");
    let on = |fleet: &str, verb: &str| {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args([verb, "--fleet", fleet]);
        sandbox.run(command, b"")
    };
    on("two", "rekey").exits(0);
    on("one", "rekey").exits(1).says("journal is damaged");
}

#[test]
fn a_serial_that_was_tampered_with_is_no_seal() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let bytes = std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("read");
    let text = String::from_utf8_lossy(&bytes[..64]).into_owned();
    let head = text.replacen("sealift 1 a 1 ", "sealift 1 a 18446744073709551615 ", 1);
    sandbox.write("secrets/a.age", [head.as_bytes(), &bytes[64..]].concat());
    sandbox.sealift(&["check"]).exits(3).prints("counts more values than a secret can have had");
    sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], sandbox.value("a").as_bytes()).exits(0);
}

#[test]
fn the_fleet_itself_is_never_shredded() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let before = sandbox.read("recipients.toml");
    sandbox.sealift(&["seal", "a", "--hosts", "web", "--from-file", "recipients.toml", "--shred"]).exits(2);
    assert_eq!(sandbox.read("recipients.toml"), before);
}

#[test]
fn a_name_cannot_forge_a_line() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write("secrets/x\nforged: run something", "x");
    sandbox.write("secrets/y\rforged: run something.age", "x");
    sandbox
        .write("hosts/z\u{85}forged: run something/default.nix", "{ services.k3s.token = \"not-a-real-token-1\"; }\n");
    for (words, code) in [(&["check"][..], 3), (&["doctor"], 3), (&["scan"], 10), (&["list"], 0)] {
        let run = sandbox.sealift(words).exits(code);
        let shown = run.text() + &run.stderr;
        assert!(words == ["list"] || shown.contains("forged"), "it is shown: {words:?}: {shown}");
        forges_nothing(&shown, "forged", "");
    }
}

/// Asserts that no line starts with the forged text, even after a word with a colon; text after a bar or after the name
/// of its `owner` is recognizably foreign.
#[track_caller]
pub fn forges_nothing(shown: &str, forged: &str, owner: &str) {
    let begins = |line: &&str| {
        let line = line.trim_start_matches([' ', '\t', '-', '*']);
        let after = line.split_once(": ").filter(|(word, _)| *word != owner && !word.contains([' ', '"']));
        line.starts_with(forged) || after.is_some_and(|(_, rest)| rest.starts_with(forged))
    };
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
    assert_eq!(shown.split(ends).find(begins), None, "{shown}");
}

#[test]
fn a_forged_line_is_seen() {
    for line in ["forged", "help: forged", "  - warning: forged", "a\rhint: forged", "a\u{2028}forged: b"] {
        assert!(std::panic::catch_unwind(|| forges_nothing(line, "forged", "web")).is_err(), "{line}");
    }
    forges_nothing("web: forged\n  | help: forged\nerror: secrets/x\\nforged: b", "forged", "web");
}

#[test]
fn advice_about_a_name_runs_nothing_of_it() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let name = "secrets/a; touch ran; b $(touch ran).age";
    sandbox.write(name, "x");
    for verb in ["check", "doctor"] {
        let run = sandbox.sealift(&[verb]).exits(3);
        let text = run.text() + &run.stderr;
        let advice = text.split('`').find(|words| words.starts_with("git add")).expect("advice");
        sandbox.tool("sh", &["-c", advice]);
        assert!(!sandbox.fleet().join("ran").exists(), "{verb}: {advice}");
        assert_eq!(sandbox.tool("git", &["ls-files", "-z", "secrets"]), format!("{name}\0").as_bytes(), "{advice}");
        sandbox.tool("git", &["reset", "-q"]);
    }
}

#[test]
fn what_could_never_be_read_again_is_not_taken() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    for size in ["0", "99999999", "99999999999999999999"] {
        sandbox.sealift(&["seal", "a", "--hosts", "web", "--stdin", "--max-size", size]).exits(2);
    }
}

#[test]
fn a_umask_that_takes_the_owners_rights_locks_nobody_out() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with_fleet(&["web"]);
    let mut command = sandbox.command("sh");
    command.args(["-c", "umask 777; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sealift")]);
    command.args(["seal", "folder/a", "--hosts", "web", "--generate", "hex"]);
    sandbox.run(command, b"").exits(0);
    for folder in ["secrets", "secrets/folder", ".git/sealift"] {
        let mode = std::fs::metadata(sandbox.fleet().join(folder)).expect("there").permissions().mode();
        assert_eq!(mode & 0o700, 0o700, "{folder}");
    }
}

#[test]
fn a_serial_at_the_end_of_counting_stops_nobody() {
    // The largest serial that can be written is 2^53 - 1.
    for serial in ["9007199254740992", "9007199254740991"] {
        for committed in [false, true] {
            let sandbox = Sandbox::with_fleet(&["web"]);
            sandbox.seal("a", &["--hosts", "web"]);
            sandbox.sealift_with(&["rotate", "a", "--stdin"], sandbox.value("2").as_bytes()).exits(0);
            sandbox.tool("git", &["add", "-A"]);
            sandbox.tool("git", &["commit", "-q", "-m", "two"]);
            let bytes = std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("read");
            let text = String::from_utf8_lossy(&bytes[..64]).into_owned();
            let head = text.replacen("sealift 1 a 2 ", &format!("sealift 1 a {serial} "), 1);
            sandbox.write("secrets/a.age", [head.as_bytes(), &bytes[64..]].concat());
            if committed {
                sandbox.tool("git", &["commit", "-q", "-a", "-m", "forged"]);
            }
            let value = sandbox.value("3");
            let run = sandbox.sealift_with(&["rotate", "a", "--stdin"], value.as_bytes()).exits(0);
            run.prints("a: version 3");
            assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
            sandbox.tool("git", &["commit", "-q", "-a", "-m", "three"]);
            sandbox.sealift(&["check", "--history"]).exits(0);
            sandbox.write("secrets/a.age", [head.as_bytes(), &bytes[64..]].concat());
            sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], value.as_bytes()).exits(0).says("(version 4)");
        }
    }
}
