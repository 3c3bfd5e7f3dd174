//! Everything that a verb changes is staged with the policy that it follows, and this is reported once.

use std::os::unix::fs::symlink;

use sealift::adapters::git::Git;

use crate::harness::{Run, Sandbox};

/// Asserts that all changes since the last commit are staged, and that the run says so once; then commits them.
#[track_caller]
fn is_staged(sandbox: &Sandbox, run: &Run) {
    let status = String::from_utf8(sandbox.tool("git", &["status", "--porcelain"])).expect("UTF-8");
    assert!(!status.is_empty() && status.lines().all(|line| line.as_bytes()[1] == b' '), "{status}{}", run.stderr);
    assert_eq!(run.stderr.matches("staged").count(), 1, "{}", run.stderr);
    sandbox.tool("git", &["commit", "-q", "-m", "next"]);
}

#[test]
fn every_verb_stages_what_it_changed() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let jay = sandbox.key("jay");
    for name in ["db", "other"] {
        sandbox.ssh_key(name);
    }
    let (key, other) = (format!("{}.pub", sandbox.key("db")), format!("{}.pub", sandbox.key("other")));
    let (first, second) = (sandbox.value("first"), sandbox.value("second"));
    let run = |words: &[&str], input: &str| {
        let run = sandbox.sealift_with(words, input.as_bytes()).exits(0);
        is_staged(&sandbox, &run);
    };
    run(&["seal", "a", "--hosts", "*", "--stdin"], &first);
    // The files exist and only differ: that is staged too.
    run(&["seal", "a", "--replace", "--stdin"], &second);
    run(&["rotate", "a", "--stdin"], &first);
    run(&["identity", "new", "--admin", "spare", "--plain", "--file", "../spare.key"], "");
    run(&["rekey", "-i", &jay], "");
    run(&["host", "add", "db", "--key-file", &key, "-i", &jay], "");
    run(&["host", "rekey", "db", "--key-file", &other, "-i", &jay], "");
    run(&["mv", "a", "b", "-i", &jay], "");
    run(&["host", "rm", "db", "--yes", "-i", &jay], "");
    run(&["rm", "b", "--yes"], "");
    // If nothing changes, nothing is staged or reported.
    let idle = sandbox.sealift(&["rekey", "-i", &jay]).exits(0);
    assert!(!idle.stderr.contains("staged"), "{}", idle.stderr);
}

#[test]
fn quiet_verbs_say_what_was_asked_for_and_no_more() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let jay = sandbox.key("jay");
    let value = sandbox.value("a");
    let db = sandbox.ssh_key("db");
    let silent = |words: &[&str]| {
        let run = sandbox.sealift_with(&[words, &["-q"]].concat(), value.as_bytes()).exits(0);
        assert!(run.stdout.is_empty() && run.stderr.is_empty(), "{words:?}: {}{}", run.text(), run.stderr);
    };
    silent(&["seal", "a", "--hosts", "*", "--stdin"]);
    silent(&["rotate", "a", "--stdin"]);
    silent(&["host", "add", "db", "--key", &db, "-i", &jay]);
    silent(&["mv", "a", "b", "-i", &jay]);
    silent(&["rekey", "-i", &jay]);
    // Requested output is printed.
    assert_eq!(sandbox.sealift(&["show", "b", "-q", "-i", &jay]).exits(0).text(), value);
    assert!(sandbox.sealift(&["list", "-q"]).exits(0).text().contains("sealed"));
}

#[test]
fn files_and_the_policy_that_they_follow_are_staged_together() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.tool("git", &["commit", "-q", "-m", "sealed"]);
    // Edited by hand and not staged: a commit of only the re-encrypted file would not match its policy.
    let policy = sandbox.read("recipients.toml").replace("hosts = [\"web\"]", "hosts = [\"web\", \"db\"]");
    sandbox.write("recipients.toml", &policy);
    sandbox.write("notes.txt", "mine");
    let run = sandbox.sealift(&["rekey", "-i", &sandbox.key("jay"), "--yes"]).exits(0);
    let staged = String::from_utf8(sandbox.tool("git", &["diff", "--cached", "--name-only"])).expect("UTF-8");
    assert_eq!(staged, "recipients.toml\nsecrets/a.age\n", "{}", run.stderr);
    assert_eq!(sandbox.tool("git", &["show", ":recipients.toml"]), policy.as_bytes());
    // The index has the sealed bytes, whatever attributes say.
    assert_eq!(
        sandbox.tool("git", &["show", ":secrets/a.age"]),
        std::fs::read(sandbox.fleet().join("secrets/a.age")).unwrap()
    );
}

#[test]
fn a_clone_under_autocrlf_reads_its_policy() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q", "-b", "main"]);
    sandbox.sealift(&["init"]).exits(0);
    sandbox.sealift(&["hook", "remove"]).exits(0);
    sandbox.sealift(&["identity", "new", "--admin", "jay", "--plain", "--file", "../jay.key"]).exits(0);
    sandbox.ssh_key("web");
    sandbox.sealift(&["host", "add", "web", "--key-file", &format!("{}.pub", sandbox.key("web"))]).exits(0);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    sandbox.tool("git", &["commit", "-q", "-m", "fleet"]);
    let clone = |to: &str| {
        let to = sandbox.path(to);
        let to = to.to_str().expect("UTF-8").to_owned();
        sandbox.tool("git", &["clone", "-q", "-c", "core.autocrlf=true", ".", &to]);
        to
    };
    let there = clone("clone");
    sandbox.sealift(&["--fleet", &there, "check"]).exits(0);
    assert_eq!(sandbox.sealift(&["show", "a", "--fleet", &there, "-i", "../jay.key"]).exits(0).text(), value);
    // An older fleet without the attribute: the error names the cause and the fix.
    sandbox.write(".gitattributes", "secrets/**/*.age binary merge=binary\n");
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "as it was"]);
    let there = clone("before");
    sandbox.sealift(&["--fleet", &there, "check"]).exits(2).says("CRLF").says("core.autocrlf").says("text eol=lf");
    // `init` adds the line to an existing fleet, and changes nothing else.
    sandbox.sealift(&["init"]).exits(0).says("wrote .gitattributes");
    assert_eq!(sandbox.read(".gitattributes"), "secrets/**/*.age binary merge=binary\nrecipients.toml text eol=lf\n");
}

#[test]
fn a_fleet_in_a_submodule_below_the_flake_is_told_the_way_out() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "sealed"]);
    let outer = sandbox.path("outer");
    std::fs::create_dir(&outer).expect("a directory");
    let at = outer.to_str().expect("UTF-8");
    sandbox.tool("git", &["-C", at, "init", "-q"]);
    let inner = sandbox.fleet();
    let inner = inner.to_str().expect("UTF-8");
    sandbox.tool("git", &["-C", at, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner, "priv"]);
    std::fs::write(outer.join("flake.nix"), "{ outputs = _: { }; }\n").expect("written");
    sandbox.tool("git", &["-C", at, "add", "."]);
    sandbox.tool("git", &["-C", at, "commit", "-q", "-m", "outer"]);
    let fleet = format!("{at}/priv");
    for more in [&["--flake", at][..], &[]] {
        let words = [&["deploy", "web", "--fleet", &fleet, "--action", "build", "--yes"][..], more].concat();
        sandbox.sealift(&words).exits(2).says("is in the git submodule").says("beside its flake.nix");
    }
    // All else works there.
    sandbox.sealift(&["check", "--fleet", &fleet]).exits(0);
}

/// The objects in the index, by path.
fn staged(sandbox: &Sandbox) -> Vec<(String, String)> {
    let listed = String::from_utf8(sandbox.tool("git", &["ls-files", "--stage", "-z"])).expect("UTF-8");
    let entry = |record: &str| {
        let (head, path) = record.split_once('\t').expect("a path");
        (path.to_owned(), head.split(' ').nth(1).expect("an object").to_owned())
    };
    listed.split_terminator('\0').map(entry).collect()
}

#[test]
fn a_path_leads_to_no_other_file() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let key = sandbox.key("jay");
    let of = |path: &str| {
        let object = sandbox.tool("git", &["hash-object", "--no-filters", "--", path]);
        String::from_utf8(object).expect("UTF-8").trim().to_owned()
    };
    let git = Git::of(&sandbox.fleet()).expect("a repository");
    // In a list of lines, each name would select the key.
    for name in [format!("\"{key}\""), format!("x\n{key}"), format!("\"{}\"/own", key.replace('/', "\\057"))] {
        sandbox.write(&name, "own");
        git.stage(&[sandbox.fleet().join(&name)]).expect("staged");
        let (_, object) = staged(&sandbox).into_iter().find(|(path, _)| *path == name).expect("it is staged");
        assert_eq!(object, of(&name), "{name}");
    }
    // Nor does a symlink.
    symlink(&key, sandbox.fleet().join("link")).expect("a link");
    symlink(sandbox.path("keys"), sandbox.fleet().join("folder")).expect("a link");
    let before = staged(&sandbox);
    for name in ["link", "folder/jay"] {
        git.stage(&[sandbox.fleet().join(name)]).expect_err("a link");
    }
    assert_eq!(staged(&sandbox), before);
    let key = of(&key);
    assert!(before.iter().all(|(_, object)| *object != key), "the key is staged");
    let mut looked_up = sandbox.command("git");
    looked_up.args(["cat-file", "-e", &key]);
    assert_ne!(sandbox.run(looked_up, b"").code, 0, "the key is in the repository");
}

#[test]
fn what_goes_is_staged_whatever_git_calls_its_objects() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    std::fs::remove_dir_all(sandbox.fleet().join(".git")).expect("removed");
    sandbox.tool("git", &["init", "-q", "-b", "main", "--object-format=sha256"]);
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "fleet"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.tool("git", &["commit", "-q", "-m", "sealed"]);
    let jay = sandbox.key("jay");
    is_staged(&sandbox, &sandbox.sealift(&["mv", "a", "b", "-i", &jay]).exits(0));
    is_staged(&sandbox, &sandbox.sealift(&["rm", "b", "--yes"]).exits(0));
}

#[test]
fn what_lies_in_another_repository_is_not_put_into_this_one() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let inner = sandbox.path("inner");
    let inner = inner.to_str().expect("UTF-8");
    sandbox.tool("git", &["init", "-q", inner]);
    sandbox.tool("git", &["-C", inner, "commit", "-q", "--allow-empty", "-m", "inner"]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner, "secrets"];
    sandbox.tool("git", &add);
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "submodule"]);
    let refused = || {
        let before = staged(&sandbox);
        let seal = ["seal", "a", "--hosts", "web", "--stdin"];
        sandbox.sealift_with(&seal, sandbox.value("a").as_bytes()).exits(2).says("is a git repository of its own");
        assert_eq!(staged(&sandbox), before);
        assert!(
            !sandbox.fleet().join("secrets/a.age").exists() && !sandbox.read("recipients.toml").contains("secrets.a")
        );
    };
    refused();
    // Missing in this clone.
    sandbox.tool("git", &["submodule", "--quiet", "deinit", "--force", "secrets"]);
    refused();
    // A repository that is not a submodule of this one.
    sandbox.tool("git", &["rm", "-q", "--cached", "secrets"]);
    sandbox.tool("git", &["init", "-q", "secrets"]);
    refused();
}

#[test]
fn a_file_is_one_in_the_index_whatever_stood_there() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let head = String::from_utf8(sandbox.tool("git", &["rev-parse", "HEAD"])).expect("UTF-8");
    let link = sandbox.tool("git", &["rev-parse", "HEAD:recipients.toml"]);
    let link = String::from_utf8(link).expect("UTF-8");
    for (name, mode, object) in
        [("a", "120000", link.trim()), ("b", "160000", head.trim()), ("c", "100755", link.trim())]
    {
        let entry = format!("{mode},{object},secrets/{name}.age");
        sandbox.tool("git", &["update-index", "--add", "--cacheinfo", &entry]);
        sandbox.seal(name, &["--hosts", "web"]);
    }
    let listed = String::from_utf8(sandbox.tool("git", &["ls-files", "--stage", "secrets/*.age"])).expect("UTF-8");
    let modes: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(modes, ["100644", "100644", "100755"], "{listed}");
}

#[test]
fn what_a_filter_encrypts_does_not_lie_in_git_as_it_is() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let (one, other) = (sandbox.value("one"), sandbox.value("other"));
    for (key, value) in [("clean", "tr a-z n-za-m"), ("smudge", "tr a-z n-za-m"), ("required", "true")] {
        sandbox.tool("git", &["config", &format!("filter.crypt.{key}"), value]);
    }
    sandbox.write(".gitattributes", "private.nix filter=crypt\nsecrets/** filter=crypt\n");
    let text = format!("{{\n  services.a.password = \"{one}\";\n  services.b.password = \"{other}\";\n}}\n");
    sandbox.write("private.nix", &text);
    sandbox.allow(sandbox.fleet().join("private.nix"));
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "encrypted"]);
    let before = sandbox.tool("git", &["show", ":private.nix"]);
    assert_ne!(before, text.as_bytes(), "the filter works");
    let adopt = ["adopt", "private.nix:2", "--twin", "passwordFile", "--hosts", "web", "--name", "a", "--yes"];
    let run = sandbox
        .sealift(&adopt)
        .exits(0)
        .says("private.nix: .gitattributes has it filtered")
        .says("`git add private.nix`");
    assert!(sandbox.read("private.nix").contains("passwordFile"), "{}", run.stderr);
    assert_eq!(sandbox.tool("git", &["show", ":private.nix"]), before);
    // Everything else is staged, and sealed files with the sealed bytes.
    let sealed = std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("a file");
    assert_eq!(sandbox.tool("git", &["show", ":secrets/a.age"]), sealed);
    assert_eq!(sandbox.tool("git", &["show", ":recipients.toml"]), sandbox.read("recipients.toml").as_bytes());
}

#[test]
fn a_filter_is_told_only_where_git_lacks_something() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.tool("git", &["config", "filter.crypt.clean", "tr a-z n-za-m"]);
    sandbox.tool("git", &["config", "filter.crypt.smudge", "tr a-z n-za-m"]);
    sandbox.write(".gitattributes", "recipients.toml filter=crypt\n");
    let told = "recipients.toml: .gitattributes has it filtered";
    sandbox.sealift(&["seal", "a", "--hosts", "web", "--generate", "password"]).exits(0).says(told);
    // git considers a file as old as its index to be changed.
    sandbox.tool("touch", &["-d", "2020-01-01", "recipients.toml"]);
    sandbox.tool("git", &["add", "."]);
    let run = sandbox.sealift(&["rotate", "a"]).exits(0);
    assert!(!run.stderr.contains("filtered"), "{}", run.stderr);
}

/// How many times a run starts git.
fn starts_of_git(sandbox: &Sandbox, words: &[&str]) -> usize {
    let log = sandbox.path("started/log");
    std::fs::write(&log, "").expect("emptied");
    sandbox.sealift(words).exits(0);
    std::fs::read_to_string(&log).expect("a log").lines().filter(|line| line.ends_with("/started/git")).count()
}

#[test]
fn git_is_started_no_more_often_than_is_needed() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "*"]);
    sandbox.seal("b", &["--hosts", "*"]);
    sandbox.tool("git", &["commit", "-q", "-m", "sealed"]);
    // The configuration, the index, the last commit.
    assert_eq!(starts_of_git(&sandbox, &["check"]), 3);
    // A key that is no longer in the policy: its name is in the last commit.
    sandbox.ssh_key("other");
    let public = |name: &str| std::fs::read_to_string(format!("{}.pub", sandbox.key(name))).expect("a key");
    let key = |name: &str| public(name).split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned();
    sandbox.write("recipients.toml", sandbox.read("recipients.toml").replace(&key("db"), &key("other")));
    // The configuration; the entry for `secrets` in the index; two for earlier policies; the index, attributes, contents,
    // and the new index. Independent of the number of files.
    let rekey = ["rekey", "--remove", "db", "-i", &sandbox.key("jay")];
    assert_eq!(starts_of_git(&sandbox, &rekey), 8);
    // Nothing to do, so no new contents. The past reader in the seals is searched again.
    assert_eq!(starts_of_git(&sandbox, &rekey[..1]), 4);
}

#[test]
fn many_files_are_one_pack() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let packs = || {
        let told = String::from_utf8(sandbox.tool("git", &["count-objects", "-v"])).expect("UTF-8");
        told.lines().find_map(|line| line.strip_prefix("packs: ")).expect("a number").to_owned()
    };
    let git = Git::of(&sandbox.fleet()).expect("a repository");
    let stage = |names: &[String]| {
        names.iter().for_each(|name| sandbox.write(name, name));
        git.stage(&names.iter().map(|name| sandbox.fleet().join(name)).collect::<Vec<_>>()).expect("staged");
    };
    stage(&["one".to_owned()]);
    assert_eq!(packs(), "0");
    let names: Vec<String> = (0..20).map(|number| format!("file-{number}")).collect();
    stage(&names);
    assert_eq!(packs(), "1");
    let all = staged(&sandbox);
    for name in names {
        let (_, object) = all.iter().find(|(path, _)| *path == name).expect("it is staged");
        assert_eq!(sandbox.tool("git", &["cat-file", "blob", object]), name.as_bytes());
    }
}
