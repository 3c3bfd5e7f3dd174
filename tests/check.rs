//! check: what can be proven without any private key.

use crate::harness::{Run, Sandbox};
use std::os::unix::fs::symlink;

fn fleet() -> Sandbox {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.seal("b", &["--hosts", "web"]);
    sandbox.tool("git", &["commit", "-q", "-m", "secrets"]);
    sandbox
}

fn bytes(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    std::fs::read(sandbox.fleet().join(name)).expect("read")
}

#[test]
fn a_fleet_in_line_passes_without_home_or_terminal() {
    let sandbox = fleet();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(["check"]).env_remove("HOME");
    sandbox.run(command, b"").exits(0).says("2 sealed files for 2 hosts");
    sandbox.sealift(&["check", "--strict"]).exits(3).prints("one key alone opens everything");
}

#[test]
fn a_weak_key_is_answered_by_whose_it_is() {
    let sandbox = fleet();
    let file = sandbox.path("rsa");
    let file = file.to_str().expect("UTF-8");
    sandbox.tool("ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", file]);
    let public = format!("{file}.pub");
    let rekey = ["host", "rekey", "web", "--key-file", &public, "--identity", &sandbox.key("jay")];
    sandbox.sealift(&rekey).exits(0);
    sandbox.sealift(&["check"]).prints("hosts.web: an ssh-rsa key").prints("`sealift host rekey web --ssh`");
}

#[test]
fn swapped_files_are_named() {
    let sandbox = fleet();
    let (a, b) = (bytes(&sandbox, "secrets/a.age"), bytes(&sandbox, "secrets/b.age"));
    sandbox.write("secrets/a.age", b);
    sandbox.write("secrets/b.age", a);
    let help = "restore it from git (`git log -- secrets/a.age` shows its versions)";
    sandbox.sealift(&["check"]).exits(3).prints("secrets/a.age: its seal says that it is b").prints(help);
    sandbox.sealift(&["list"]).exits(0).prints("a       DAMAGED");
    sandbox.sealift(&["who", "a"]).exits(8).says("secrets/a.age: its seal says that it is b").says(help);
    sandbox.sealift(&["who", "--host", "web"]).exits(0).says("secrets/a.age: its seal says that it is b; left out");
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("jay")]).exits(8).says("its seal says that it is b");
    sandbox.sealift(&["rekey", "--all", "--identity", &sandbox.key("jay")]).exits(8).says(help);
}

#[test]
fn whatever_stands_in_a_files_place_is_named() {
    let sandbox = fleet();
    for (content, what) in [
        (&b""[..], "it is empty"),
        (b"<<<<<<< HEAD\nx\n=======\ny\n>>>>>>> other\n", "a merge left conflict markers"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"404 not found", "not an age file"),
        (b"age-encryption.org/v9\n-> x\n", "newer version of age"),
    ] {
        sandbox.write("secrets/a.age", content);
        sandbox.sealift(&["check"]).exits(3).prints(what);
        sandbox.sealift(&["show", "a", "--identity", &sandbox.key("jay")]).exits(8).says(what);
    }
}

#[test]
fn every_cut_and_every_changed_byte_of_the_header_is_refused_when_opened() {
    let sandbox = fleet();
    let whole = bytes(&sandbox, "secrets/a.age");
    for length in [1, 21, 22, 100, 200, whole.len() / 2, whole.len() - 1] {
        sandbox.write("secrets/a.age", &whole[..length]);
        sandbox.sealift(&["show", "a", "--identity", &sandbox.key("jay")]).exits(8);
    }
    // The serial in the seal, a character of its name, a stanza's tag.
    for (from, to) in
        [("sealift 1 a 1 ", "sealift 1 a 9 "), ("ssh-ed25519 ", "ssh-ed25518 "), ("sealift 1 a", "sealifx 1 a")]
    {
        let text = whole.clone();
        let at = text.windows(from.len()).position(|window| window == from.as_bytes()).expect("it is there");
        let mut text = text;
        text[at..at + to.len()].copy_from_slice(to.as_bytes());
        sandbox.write("secrets/a.age", text);
        sandbox.sealift(&["show", "a", "--identity", &sandbox.key("jay")]).exits(8);
    }
}

#[test]
fn a_stripped_stanza_is_seen_without_a_key() {
    let sandbox = fleet();
    let whole = bytes(&sandbox, "secrets/a.age");
    let text = String::from_utf8_lossy(&whole[..600.min(whole.len())]).into_owned();
    let start = text.find("-> ssh-ed25519").expect("a stanza");
    let end = start
        + text[start..]
            .match_indices("\n-> ")
            .next()
            .map_or_else(|| text[start..].find("\n--- ").expect("an end"), |(at, _)| at)
        + 1;
    sandbox.write("secrets/a.age", [&whole[..start], &whole[end..]].concat());
    sandbox.sealift(&["check"]).exits(3).prints("changed behind sealift's back");
}

#[test]
fn untracked_ignored_orphaned_missing_and_stray_files_are_named() {
    let sandbox = fleet();
    sandbox.seal("c", &["--hosts", "db"]);
    sandbox.tool("git", &["rm", "-q", "--cached", "secrets/c.age"]);
    sandbox.sealift(&["check"]).exits(3).prints("secrets/c.age: git does not track it");
    sandbox.write(".gitignore", "*.age\n");
    sandbox.sealift(&["check"]).exits(3).prints("secrets/c.age: git ignores it");
    std::fs::remove_file(sandbox.fleet().join(".gitignore")).expect("removed");
    sandbox.tool("git", &["add", "secrets/c.age"]);
    std::fs::copy(sandbox.fleet().join("secrets/a.age"), sandbox.fleet().join("secrets/z.age")).expect("copied");
    sandbox.write("secrets/notes.txt", "x");
    // The rules of agenix name no file that has a seal.
    sandbox.write("secrets.nix", "{ }");
    std::fs::remove_file(sandbox.fleet().join("secrets/b.age")).expect("removed");
    sandbox
        .sealift(&["check"])
        .exits(3)
        .prints("secrets/z.age: no secret in the policy asks for it")
        .prints("delete it: `sealift rm z`")
        .prints("secrets/notes.txt: it is not a sealed file")
        .prints("secrets/b.age: the policy asks for it and it is not there");
    sandbox.sealift(&["rm", "z", "--yes"]).exits(0);
}

#[test]
fn an_older_value_that_came_back_is_seen() {
    let sandbox = fleet();
    let old = bytes(&sandbox, "secrets/a.age");
    sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], sandbox.value("second").as_bytes()).exits(0);
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "second"]);
    sandbox.write("secrets/a.age", &old);
    sandbox.sealift(&["check"]).exits(3).prints("it holds version 1 and HEAD holds version 2");
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "back"]);
    sandbox.sealift(&["check"]).exits(0);
    sandbox.sealift(&["check", "--against", "HEAD~1"]).exits(3).prints("HEAD~1 holds version 2");
    sandbox.sealift(&["check", "--history"]).exits(3).prints("the history holds version 2");
    sandbox.sealift(&["check", "--against", "--output=x"]).exits(2);
    sandbox.sealift(&["check", "--against=--output=x"]).exits(2).says("there is no such commit");
}

#[test]
fn a_cut_history_is_said() {
    let sandbox = fleet();
    sandbox.tool("git", &["commit", "-q", "--allow-empty", "-m", "more"]);
    let url = format!("file://{}", sandbox.fleet().display());
    sandbox.tool("git", &["clone", "-q", "--depth", "1", &url, "../shallow"]);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(["check", "--history"]).current_dir(sandbox.path("shallow"));
    sandbox.run(command, b"").exits(11).prints("the history is cut");
}

#[test]
fn json_has_level_rule_place_and_mend() {
    let sandbox = fleet();
    std::fs::remove_file(sandbox.fleet().join("secrets/b.age")).expect("removed");
    let json = sandbox.sealift(&["check", "--json"]).exits(3).json();
    let finding = &json["findings"][0];
    assert_eq!(
        (finding["level"].as_str(), finding["rule"].as_str(), finding["about"].as_str()),
        (Some("error"), Some("missing"), Some("secrets/b.age"))
    );
    assert!(finding["mend"].as_str().expect("a mend").contains("sealift seal b"));
}

#[test]
fn an_overdue_value_is_a_warning() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    expires(&sandbox, "2020-01-01");
    sandbox
        .sealift(&["check"])
        .exits(0)
        .prints("the value expired on 2020-01-01")
        .prints("`sealift rotate a` asks for the next date, or takes it with `--expires DATE`");
    sandbox.sealift(&["check", "--strict"]).exits(3);
    sandbox.sealift(&["list"]).exits(0).prints("2020-01-01 EXPIRED");
}

/// The date this many days from today.
fn day(ahead: i64) -> String {
    use jiff::ToSpan;
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    today.checked_add(ahead.days()).expect("a day").to_string()
}

/// Gives the fleet's only secret an expiry date.
fn expires(sandbox: &Sandbox, date: &str) {
    let policy =
        sandbox.read("recipients.toml").replace("[secrets.a]\n", &format!("[secrets.a]\nexpires = \"{date}\"\n"));
    sandbox.write("recipients.toml", policy);
}

#[test]
fn the_end_of_a_value_is_told_a_week_ahead() {
    for (ahead, told) in [(1, Some("in 1 day")), (7, Some("in 7 days")), (8, None)] {
        let sandbox = Sandbox::with_fleet(&["web"]);
        let date = day(ahead);
        sandbox.seal(
            "a",
            &["--hosts", "web", "--expires", &date, "--rotate-every", "90d", "--description", "of the shop"],
        );
        let checked = sandbox.sealift(&["check"]).exits(0);
        let found = format!("the value expires on {date}, {}", told.unwrap_or("in"));
        assert_eq!(checked.text().contains(&found), told.is_some(), "{}", checked.text());
        let json = sandbox.sealift(&["check", "--json"]).exits(0).json();
        let rules: Vec<_> =
            json["findings"].as_array().expect("findings").iter().map(|one| one["rule"].as_str()).collect();
        assert_eq!(rules.contains(&Some("expires-soon")), told.is_some(), "{rules:?}");
        let listed = sandbox.sealift(&["list"]).exits(0);
        let text = listed.text();
        let head = text.lines().next().expect("a head");
        assert!(head.contains("expires") && head.contains("rotation") && head.contains("description"), "{text}");
        assert!(text.contains(&date) && text.contains("90d due ") && text.contains("of the shop"), "{text}");
        assert_eq!(text.contains("in 7 days"), ahead == 7, "{text}");
        let row = &sandbox.sealift(&["list", "--json"]).exits(0).json()["files"][0];
        assert_eq!((row["expires_in"].as_i64(), row["rotate_every"].as_u64()), (Some(ahead), Some(90)));
    }
    // The column is hidden if no secret has a date.
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let text = sandbox.sealift(&["list"]).exits(0).text();
    assert!(!text.contains("expires") && !text.contains("rotation") && !text.contains("description"), "{text}");
}

#[test]
fn a_new_value_gets_a_new_date() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.value("a");
    let yesterday = day(-1);
    sandbox
        .sealift_with(&["seal", "a", "--hosts", "web", "--stdin", "--expires", &yesterday], value.as_bytes())
        .exits(2)
        .says(&format!("--expires {yesterday} is past"));
    assert!(!sandbox.read("recipients.toml").contains("expires"));
    sandbox.seal("a", &["--hosts", "web"]);
    expires(&sandbox, "2020-01-01");
    let rotate = |more: &[&str]| {
        let words = [&["rotate", "a", "--stdin"], more].concat();
        sandbox.sealift_with(&words, value.as_bytes())
    };
    let date = || {
        let policy = sandbox.read("recipients.toml");
        policy.lines().find_map(|line| line.strip_prefix("expires = ").map(|date| date.trim_matches('"').to_owned()))
    };
    // In a script nobody is asked: an expired date is reported, and a given date must be in the future.
    rotate(&[]).exits(0).says("a: `expires` in recipients.toml is past");
    rotate(&["--expires", &yesterday]).exits(2).says("is past");
    rotate(&["--expires", "soon"]).exits(2).says("as 2027-03-01, or `never`");
    assert_eq!(date().as_deref(), Some("2020-01-01"));
    rotate(&["--expires", &day(30)]).exits(0);
    assert_eq!(date(), Some(day(30)));
    sandbox.sealift(&["check", "--strict"]).exits(3).prints("one key alone");
    rotate(&["--expires", "never"]).exits(0);
    assert_eq!(date(), None);
    // The date belongs to the value: neither is written without the other.
    sandbox.sealift_with(&["rotate", "a", "--stdin", "--expires", &day(30)], b"").exits(1);
    assert_eq!(date(), None);

    // A value piped in on a terminal is a script: nobody is asked.
    expires(&sandbox, &day(30));
    let piped = format!("spawn sh -c {{printf '{value}' | \"$S\" rotate a --stdin}}\nsays \"a: version\"\nends\n");
    let piped = crate::identity::on_terminal(&sandbox, &piped).text();
    assert!(piped.contains("<0>") && !piped.contains("When does"), "{piped}");
    assert_eq!(date(), Some(day(30)));
    rotate(&["--expires", "never"]).exits(0);

    // A user is asked, and asked again after an invalid or past date.
    expires(&sandbox, "2020-01-01");
    let next = day(90);
    let ask = |answers: &str| {
        crate::identity::on_terminal(
            &sandbox,
            &format!(
                "spawn $env(S) rotate a\nsays \"Value of a: \"\nsend \"typed\\r\"\nsays \"again: \"\nsend \"typed\\r\"\nsays \"a expired on 2020-01-01. When does the new value expire?\"\n{answers}ends\n"
            ),
        )
        .text()
    };
    let asked = ask(
        "send \"2019-01-01\\r\"\nsays \"is past\"\nsays \"Enter\"\nsend \"soon\\r\"\nsays \"not understood\"\nsays \"Enter\"\nsend \"\\r\"\n",
    );
    assert!(asked.contains("`expires` in recipients.toml is past") && asked.contains("<0>"), "{asked}");
    assert_eq!(date().as_deref(), Some("2020-01-01"));
    let asked = ask(&format!("send \"{next}\\r\"\n"));
    assert!(asked.contains("<0>"), "{asked}");
    assert_eq!(date(), Some(next));
}

#[test]
fn what_is_counted_is_said_as_one_or_many() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.sealift(&["check"]).exits(0).says("1 sealed file for 1 host: 0 errors, 1 warning");
}

#[test]
fn a_link_in_place_of_a_file_is_not_followed() {
    let sandbox = fleet();
    let path = sandbox.fleet().join("secrets/a.age");
    std::fs::remove_file(&path).expect("removed");
    symlink("b.age", &path).expect("linked");
    sandbox.sealift(&["check"]).exits(3).prints("secrets/a.age: it is a link");
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("jay")]).exits(8).says("symbolic link");
    sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], sandbox.value("new").as_bytes()).exits(8);
}

#[test]
fn nothing_is_written_through_a_linked_folder() {
    let sandbox = fleet();
    let elsewhere = sandbox.path("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    symlink(&elsewhere, sandbox.fleet().join("secrets/x")).expect("linked");
    let value = sandbox.value("x");
    sandbox
        .sealift_with(&["seal", "x/y", "--hosts", "web", "--stdin"], value.as_bytes())
        .exits(1)
        .says("not a directory of its own");
    assert_eq!(std::fs::read_dir(&elsewhere).expect("read").count(), 0);
    assert!(!sandbox.read("recipients.toml").contains("x/y"), "neither policy nor file");
}

#[test]
fn a_hostile_header_costs_nothing() {
    let sandbox = fleet();
    let mut text = b"age-encryption.org/v1\n".to_vec();
    for _ in 0..20_000 {
        text.extend_from_slice(
            b"-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        );
    }
    sandbox.write("secrets/a.age", text);
    sandbox.sealift(&["check"]).exits(3).prints("more than 512 recipients");
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("jay")]).exits(8).says("more than 512 recipients");
}

#[test]
fn a_program_of_the_repository_is_not_run() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let marker = sandbox.path("marker");
    sandbox.write("git", format!("#!/bin/sh\ntouch {}\nexit 1\n", marker.display()));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(sandbox.fleet().join("git"), mode).expect("the mode");
    let usual = std::env::var("PATH").expect("PATH");
    let run = |path: String| {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.arg("check").env("PATH", path);
        let run = sandbox.run(command, b"");
        assert!(!marker.exists(), "{run:?}");
        run
    };
    for path in [format!(".:{usual}"), format!(":{usual}"), format!("./:{usual}:")] {
        run(path).exits(0);
    }
    for path in ["", ".", ":"] {
        run(path.to_owned());
    }
    // Nor by an absolute entry or through a symlink.
    let (links, folder) = (sandbox.path("links"), sandbox.path("folder"));
    std::fs::create_dir(&links).expect("a folder");
    symlink(sandbox.fleet().join("git"), links.join("git")).expect("a link");
    symlink(sandbox.fleet(), &folder).expect("a link");
    for entry in [&sandbox.fleet(), &links, &folder] {
        run(format!("{}:{usual}", entry.display())).exits(0);
        run(entry.display().to_string()).exits(1).says("git is not run: it lies in the repository");
    }
    // A directory outside the repository that a devshell links to is allowed.
    let shell = sandbox.path("store/bin");
    std::fs::create_dir_all(&shell).expect("a folder");
    std::fs::copy(sandbox.fleet().join("git"), shell.join("git")).expect("a program");
    symlink(&shell, sandbox.fleet().join("result")).expect("a link");
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.arg("check").env("PATH", format!("{}:{usual}", sandbox.fleet().join("result").display()));
    sandbox.run(command, b"").exits(1);
    assert!(marker.exists(), "the devshell's own was not run");
}

#[test]
fn a_home_that_is_a_repository_keeps_its_programs_unless_it_is_the_fleets() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let (marker, usual) = (sandbox.path("marker"), std::env::var("PATH").expect("PATH"));
    // Whether checking the fleet from this home directory runs ~/bin/git.
    let runs = |home: &std::path::Path| {
        std::fs::create_dir_all(home.join("bin")).expect("a folder");
        let program = format!("#!/bin/sh\ntouch {}\nPATH={usual} exec git \"$@\"\n", marker.display());
        std::fs::write(home.join("bin/git"), program).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.join("bin/git"), mode).expect("the mode");
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(["check", "--fleet"]).arg(sandbox.fleet()).current_dir(home).env("HOME", home);
        command.env("PATH", format!("{}:{usual}", home.join("bin").display()));
        sandbox.run(command, b"").exits(0);
        std::fs::remove_file(&marker).is_ok()
    };
    let home = sandbox.path("dotfiles");
    std::fs::create_dir(&home).expect("a folder");
    sandbox.tool("git", &["init", "-q", home.to_str().expect("UTF-8")]);
    assert!(runs(&home), "a home of dotfiles");
    assert!(!runs(&sandbox.fleet()), "the fleet's");
}

/// A fleet whose secret `a` is for `@runner`, with a branch that gives db that tag too, and one that changes the same
/// lines.
fn two_branches() -> Sandbox {
    let sandbox = Sandbox::with_fleet(&["web@runner", "db"]);
    sandbox.seal("a", &["--hosts", "@runner"]);
    sandbox.tool("git", &["commit", "-q", "-m", "secrets"]);
    let policy = sandbox.read("recipients.toml");
    let (start, rest) = policy.split_once("[hosts.db]").expect("db");
    let with = |tags: &str| format!("{start}[hosts.db]\n{tags}{}", rest.trim_start());
    sandbox.tool("git", &["checkout", "-q", "-b", "tagged"]);
    sandbox.write("recipients.toml", with("tags = [\"runner\"]\n"));
    sandbox.sealift(&["rekey", "--identity", &sandbox.key("jay")]).exits(0).prints("a: +db");
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "db is a runner"]);
    sandbox.tool("git", &["checkout", "-q", "main"]);
    sandbox.write("recipients.toml", with("tags = [\"slow\"]\n"));
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "db is slow"]);
    sandbox
}

/// Merges, and takes our side of conflicts.
fn merge(sandbox: &Sandbox) {
    let mut merge = sandbox.command("git");
    merge.args(["merge", "-q", "--no-commit", "tagged"]);
    assert_ne!(sandbox.run(merge, b"").code, 0, "both changed the same lines");
    sandbox.tool("git", &["checkout", "-q", "--ours", "recipients.toml"]);
    sandbox
        .sealift(&["check"])
        .exits(3)
        .prints("recipients.toml: a merge left it unresolved\n  help: keep what both sides declared, `git add` it");
    sandbox.tool("git", &["add", "recipients.toml"]);
}

#[test]
fn what_a_merge_took_is_told_with_both_sides() {
    let sandbox = two_branches();
    let short = |name: &str| {
        String::from_utf8(sandbox.tool("git", &["rev-parse", "--short=9", name])).expect("UTF-8").trim().to_owned()
    };
    let (ours, theirs) = (short("main"), short("tagged"));
    merge(&sandbox);
    let told = |merge: &str| {
        let run = sandbox.sealift(&["check"]).exits(3);
        run.prints("can read it and should not: db")
            .prints(merge)
            .prints(&format!("{ours} gave it to jay (admin), web"))
            .prints(&format!("{theirs} gave it to jay (admin), db, web"))
    };
    let silent = |run: &Run| {
        let text = run.text();
        assert!(!["sealift rekey", "--ours", "--theirs", "one side"].iter().any(|word| text.contains(word)), "{text}");
    };
    let before = bytes(&sandbox, "secrets/a.age");
    silent(&told("the merge that is not committed yet brings that"));
    sandbox.sealift(&["rekey", "--identity", &sandbox.key("jay"), "--yes"]).exits(1).says("brings that");
    sandbox.tool("git", &["commit", "-q", "-m", "merge"]);
    let brought = format!("the merge {} brought that", short("main"));
    silent(&told(&brought));
    sandbox.write("note", "x");
    sandbox.tool("git", &["add", "note"]);
    sandbox.tool("git", &["commit", "-q", "-m", "later"]);
    silent(&told(&brought));
    let rekey = |more: &[&str]| sandbox.sealift(&[&["rekey", "--identity", &sandbox.key("jay")], more].concat());
    rekey(&["--yes"]).exits(1).says("db would lose access to a").says(&brought);
    assert_eq!(bytes(&sandbox, "secrets/a.age"), before);
    rekey(&["--remove", "db"]).exits(0);
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn what_a_merge_took_from_policy_and_file_is_told_too() {
    let sandbox = two_branches();
    sandbox.sealift_with(&["rotate", "a", "--stdin"], sandbox.value("ours").as_bytes()).exits(0);
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "ours"]);
    merge(&sandbox);
    sandbox.sealift(&["check"]).exits(3).prints("a merge left it unresolved: ours is version 2 for");
    sandbox.tool("git", &["checkout", "-q", "--ours", "secrets/a.age"]);
    for script in ["git add -A", "git commit -q -m merge"] {
        sandbox.tool("sh", &["-ec", script]);
        sandbox.sealift(&["check"]).exits(0).prints("gave it to db; recipients.toml does not");
        let json = sandbox.sealift(&["check", "--json"]).exits(0).json();
        let findings = json["findings"].as_array().expect("a list");
        let taken = findings.iter().find(|finding| finding["rule"] == "taken-by-merge").expect("it");
        assert_eq!(taken["loses"].to_string(), "[\"db\"]");
    }
    // A host removed on one side only was removed on purpose, and is not reported.
    sandbox.tool("git", &["checkout", "-q", "-b", "without"]);
    sandbox.sealift(&["host", "rm", "web", "--yes", "--identity", &sandbox.key("jay")]).exits(0);
    sandbox.tool("sh", &["-ec", "git add -A; git commit -q -m without; git checkout -q main; git commit -q --allow-empty -m x; git merge -q --no-ff -m back without"]);
    let run = sandbox.sealift(&["check"]);
    assert!(!run.text().contains("one side of the merge"), "{}", run.text());
}

#[test]
fn what_an_edit_took_is_no_merges_doing() {
    let sandbox = two_branches();
    sandbox.tool("git", &["merge", "-q", "-X", "theirs", "-m", "merge", "tagged"]);
    sandbox.sealift(&["check"]).exits(0);
    let policy = sandbox.read("recipients.toml").replace("tags = [\"runner\"]\nkeys = [", "keys = [");
    sandbox.write("recipients.toml", &policy);
    assert_eq!(policy.matches("runner").count(), 2, "{policy}");
    for commit in [false, true] {
        if commit {
            sandbox.tool("git", &["commit", "-q", "-a", "-m", "edit"]);
        }
        let run = sandbox.sealift(&["check"]).exits(3).prints("can read it and should not: ");
        assert!(run.text().contains("sealift rekey --remove") && !run.text().contains("the merge"), "{}", run.text());
    }
}

#[test]
fn a_declaration_that_a_merge_took_is_no_orphan_to_delete() {
    let sandbox = fleet();
    sandbox.tool("git", &["checkout", "-q", "-b", "other"]);
    sandbox.seal("c", &["--hosts", "db"]);
    sandbox.tool("git", &["commit", "-q", "-m", "c"]);
    sandbox.tool("git", &["checkout", "-q", "main"]);
    sandbox.write("note", "x");
    sandbox.tool("git", &["add", "note"]);
    sandbox.tool("git", &["commit", "-q", "-m", "note"]);
    sandbox.tool("git", &["merge", "-q", "--no-commit", "--no-ff", "other"]);
    sandbox.tool("git", &["checkout", "-q", "HEAD", "recipients.toml"]);
    for commit in [false, true] {
        if commit {
            sandbox.tool("git", &["commit", "-q", "-m", "merge"]);
        }
        let run = sandbox.sealift(&["check"]).exits(3).prints("secrets/c.age: no secret in the policy asks for it");
        let text = run.text();
        assert!(text.contains("did not declare it") && text.contains("gave it to"), "{text}");
        assert!(!text.contains("sealift rm"), "{text}");
    }
}

#[test]
fn what_a_merge_left_unresolved_is_told_by_its_values() {
    let sandbox = fleet();
    sandbox.tool("git", &["checkout", "-q", "-b", "other"]);
    sandbox.sealift_with(&["rotate", "a", "--stdin"], sandbox.value("theirs").as_bytes()).exits(0);
    sandbox.sealift_with(&["rotate", "a", "--stdin"], sandbox.value("theirs2").as_bytes()).exits(0);
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "theirs"]);
    sandbox.tool("git", &["checkout", "-q", "main"]);
    sandbox.sealift_with(&["rotate", "a", "--stdin"], sandbox.value("ours").as_bytes()).exits(0);
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "ours"]);
    let mut merge = sandbox.command("git");
    merge.args(["merge", "-q", "other"]);
    assert_ne!(sandbox.run(merge, b"").code, 0);
    let run = sandbox.sealift(&["check"]).exits(3);
    let run = run.prints("ours is version 2 for jay (admin), web; theirs is version 3 for jay (admin), web");
    assert!(!run.text().contains("sealift rekey"), "{}", run.text());
}

#[test]
fn files_without_a_value_are_named_together_and_made_in_one_go() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("deleted", &["--hosts", "web"]);
    sandbox.sealift(&["seal", "gone", "--hosts", "web", "--generate", "password"]).exits(0);
    sandbox.tool("git", &["commit", "-q", "-m", "sealed"]);
    for name in ["deleted", "gone"] {
        std::fs::remove_file(sandbox.fleet().join(format!("secrets/{name}.age"))).expect("removed");
    }
    let declared = |name: &str, more: &str| format!("\n[secrets.{name}]\nhosts = [\"*\"]\n{more}");
    let made = "generate = { kind = \"password\" }\n";
    let more = [
        declared("given", ""),
        declared("given-2", ""),
        declared("made", made),
        declared("own", &format!("per_host = true\n{made}")),
    ];
    sandbox.write("recipients.toml", sandbox.read("recipients.toml") + &more.concat());
    sandbox
        .sealift(&["check"])
        .exits(3)
        .prints("they are not there: given, given-2 (2 files)\n  help: give each a value: `sealift seal NAME`")
        .prints("they are not there: made, own of every host (3 files)\n  help: have them generated: `sealift rotate --missing`")
        .prints("they are not there: deleted, gone (2 files)\n  help: `git checkout HEAD -- secrets/NAME.age` brings one back, `sealift rm NAME` drops it for good");
    // A secret whose file git still has is not generated again.
    let run = sandbox.sealift(&["rotate", "--missing"]).exits(0).says("3 rotated, 0 left");
    assert!(!run.text().contains("gone"), "{}", run.text());
    sandbox
        .sealift(&["rekey"])
        .exits(0)
        .says("no value yet: given, given-2 (2 files); give each a value: `sealift seal NAME`")
        .says("deleted, and git has them: deleted, gone (2 files); `git checkout HEAD -- secrets/NAME.age` brings one back")
        .says("3 unchanged");
    for verb in ["show", "edit", "who"] {
        let run = sandbox.sealift(&[verb, "gone"]).exits(2).says("gone was deleted, and git has it");
        run.says("`git checkout HEAD -- secrets/gone.age` brings it back, `sealift rm gone` drops it for good");
    }
    // The advice works, also after `git rm`.
    sandbox.tool("git", &["rm", "-q", "--cached", "secrets/gone.age"]);
    sandbox.tool("git", &["checkout", "HEAD", "--", "secrets/gone.age"]);
    sandbox.sealift(&["rm", "deleted", "--yes"]).exits(0);
    let run = sandbox.sealift(&["rekey"]).exits(0);
    assert!(!run.stderr.contains("deleted"), "{}", run.stderr);
}
