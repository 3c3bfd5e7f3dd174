//! rekey and host: policy and files change together or not at all; unchanged files stay byte-identical.

use std::collections::BTreeMap;

use crate::harness::{Run, Sandbox};
use crate::identity::on_terminal;

/// Every sealed file and the policy, by name.
fn files(sandbox: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    let listing = sandbox.tool("find", &["secrets", "recipients.toml", "-type", "f"]);
    let names = String::from_utf8(listing).expect("UTF-8");
    names.lines().map(|name| (name.to_owned(), std::fs::read(sandbox.fleet().join(name)).expect("read"))).collect()
}

fn changed(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    after.iter().filter(|(name, bytes)| before.get(*name) != Some(bytes)).map(|(name, _)| name.clone()).collect()
}

#[test]
fn an_added_host_reads_what_the_policy_gives_it_and_nothing_else_changes() {
    let sandbox = Sandbox::with_fleet(&["web@runner", "db"]);
    let everywhere = sandbox.seal("everywhere", &["--hosts", "*"]);
    sandbox.seal("db-only", &["--hosts", "db"]);
    let runner = sandbox.seal("runner", &["--hosts", "@runner"]);
    let before = files(&sandbox);
    let key = sandbox.ssh_key("new");
    sandbox.sealift(&["host", "add", "new", "--key", &key, "--tag", "runner"]).exits(5).says("--identity FILE");
    assert_eq!(files(&sandbox), before, "neither policy nor files");
    sandbox
        .sealift(&["host", "add", "new", "--key", &key, "--tag", "runner", "--identity", &sandbox.key("jay")])
        .exits(0)
        .prints("new gains access: everywhere, runner (2 files)");
    assert_eq!(changed(&before, &files(&sandbox)), ["recipients.toml", "secrets/everywhere.age", "secrets/runner.age"]);
    assert_eq!(sandbox.show("everywhere", "new"), everywhere.as_bytes());
    assert_eq!(sandbox.show("runner", "new"), runner.as_bytes());
    sandbox.sealift(&["show", "db-only", "--identity", &sandbox.key("new")]).exits(5);
    sandbox.sealift(&["check"]).exits(0);
    // A rekey changes who reads a value, never the value itself.
    sandbox.sealift(&["list"]).exits(0).prints("everywhere  sealed  1");
}

/// Forty hosts and a hundred secrets must fit on a screen: identical changes are listed once.
#[test]
fn files_with_the_same_change_are_named_together() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    for name in ["a", "b", "c", "d"] {
        sandbox.seal(name, &["--hosts", "web"]);
    }
    let policy = sandbox.read("recipients.toml");
    let (others, last) = policy.rsplit_once("hosts = [\"web\"]").expect("the last one");
    let others = others.replace("hosts = [\"web\"]", "hosts = [\"web\", \"db\"]");
    sandbox.write("recipients.toml", format!("{others}hosts = [\"db\"]{last}"));
    let run = sandbox.sealift(&["rekey", "--dry-run"]).exits(0).says("4 would be re-encrypted");
    assert_eq!(run.text(), "db gains access: a, b, c (3 files)\nd: +db -web\n");
    let run = sandbox.sealift(&["check"]).exits(3).says("4 sealed files for 2 hosts: 5 errors");
    let lines: Vec<String> = run.text().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "error: secrets/d.age: can read it and should not: web");
    assert_eq!(lines[2], "error: db should read and cannot: a, b, c, d (4 files)");
    assert!(lines[3].starts_with("  help: if that is intended: `sealift rekey`"), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("should read")).count(), 1, "{lines:#?}");
    // The JSON output lists each file separately.
    let json = sandbox.sealift(&["check", "--json"]).exits(3).json();
    let of = |rule: &str| json["findings"].as_array().unwrap().iter().filter(|one| one["rule"] == rule).count();
    assert_eq!((of("missing-reader"), of("extra-reader")), (4, 1));
    let json = sandbox.sealift(&["rekey", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(json["changed"].as_array().unwrap().len(), 4);
    assert_eq!(json["changed"][0]["gains"], serde_json::json!(["db"]));
    // An unrequested change is refused in as few words.
    let run = rekey(&sandbox, &["--yes"]).exits(1);
    run.says("web would lose access to d");
    let run =
        sandbox.sealift(&["host", "add", "new", "--key", &sandbox.ssh_key("new"), "--identity", &sandbox.key("jay")]);
    run.exits(0);
    sandbox.write("recipients.toml", policy.replace("hosts = [\"web\"]", "hosts = []"));
    let run = rekey(&sandbox, &["--yes"]).exits(1);
    run.says("web would lose access to a, b, c, d (4 files)");
}

#[test]
fn what_is_in_line_stays_byte_for_byte() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let before = files(&sandbox);
    sandbox.sealift(&["rekey"]).exits(0).says("nothing to re-encrypt, 1 unchanged");
    assert_eq!(files(&sandbox), before);
}

#[test]
fn a_dry_run_prints_the_plan_and_needs_no_key() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let text = sandbox.read("recipients.toml").replace("hosts = [\"web\"]", "hosts = [\"db\"]");
    sandbox.write("recipients.toml", text);
    let before = files(&sandbox);
    sandbox.sealift(&["rekey", "--dry-run"]).exits(0).prints("a: +db -web").says("1 would be re-encrypted");
    assert_eq!(files(&sandbox), before);
    sandbox
        .sealift(&["check"])
        .exits(3)
        .prints("can read it and should not: web")
        .prints("should read it and cannot: db");
    sandbox.sealift(&["rekey", "--remove", "web", "--identity", &sandbox.key("jay")]).exits(0);
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("web")]).exits(5);
    sandbox.sealift(&["who", "a"]).exits(0).prints("knows web");
}

#[test]
fn one_file_that_does_not_open_stops_all_of_it() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.seal("b", &["--hosts", "web"]);
    let mut bytes = std::fs::read(sandbox.fleet().join("secrets/b.age")).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    sandbox.write("secrets/b.age", bytes);
    let before = files(&sandbox);
    let key = sandbox.ssh_key("new");
    let run = sandbox.sealift(&["host", "add", "new", "--key", &key, "--identity", &sandbox.key("jay")]);
    run.exits(0);
    let text = sandbox.read("recipients.toml").replace("hosts = [\"web\"]", "hosts = [\"*\"]");
    sandbox.write("recipients.toml", text);
    let policy_changed = files(&sandbox);
    sandbox
        .sealift(&["rekey", "--identity", &sandbox.key("jay")])
        .exits(8)
        .says("secrets/b.age")
        .says("damaged")
        .says("`git checkout -- secrets/b.age`")
        .says("`sealift seal b --replace`");
    assert_eq!(files(&sandbox), policy_changed);
    assert_ne!(before, policy_changed);
}

#[test]
fn a_removed_host_is_named_until_its_values_are_rotated() {
    let sandbox = Sandbox::with_fleet(&["web@runner", "db"]);
    sandbox.seal("shared", &["--hosts", "*"]);
    sandbox.seal("of-runner", &["--hosts", "@runner"]);
    sandbox.sealift(&["seal", "made", "--hosts", "web", "--generate", "password"]).exits(0);
    sandbox.sealift(&["seal", "own", "--hosts", "*", "--per-host", "--generate", "wireguard"]).exits(0);
    sandbox.sealift(&["host", "rm", "web"]).exits(1).says("`--yes` removes without asking");
    sandbox.sealift(&["rm", "own/web", "--yes"]).exits(2).says("`sealift rm own`");
    let run = sandbox.sealift(&["host", "rm", "web", "--yes", "--identity", &sandbox.key("jay")]).exits(0);
    run.prints("web (retired) loses access: made, of-runner, shared (3 files)")
        .says("web knows the values of these 3 files until they get new ones");
    assert!(
        !sandbox.fleet().join("secrets/own/web.age").exists() && !sandbox.fleet().join("secrets/own/web.pub").exists()
    );
    for name in ["shared", "of-runner", "made"] {
        sandbox.sealift(&["show", name, "--identity", &sandbox.key("web")]).exits(5);
    }
    sandbox
        .sealift(&["check"])
        .exits(3)
        .prints("the removed host web still knows these values: made, of-runner, shared (3 files)");
    // A name that no host has any more is not taken for a typo.
    for verb in [&["host", "rm", "web"][..], &["manifest", "web"], &["status", "web"]] {
        let run = sandbox.sealift(verb).exits(2);
        run.says("web was removed from recipients.toml").says("`sealift who --host web`");
    }
    sandbox.sealift(&["host", "rm", "bd"]).exits(2).says("there is no host bd").says("did you mean db?");
    sandbox.sealift(&["status", "mail"]).exits(2).says("`sealift host add mail --ssh USER@ADDRESS` adds one");
    // The key cannot be added again.
    let key = std::fs::read_to_string(sandbox.key("web.pub")).expect("a key");
    sandbox
        .sealift(&["host", "add", "web2", "--key", key.trim(), "--identity", &sandbox.key("jay")])
        .exits(2)
        .says("error: retired.web: this key is also the key of host web2")
        .says("retired host web was removed, and may still have it: give host web2 another key");
    // Generated values are rotated, the others need a user.
    sandbox
        .sealift(&["rotate", "--exposed-to", "web"])
        .exits(4)
        .prints("made: version 2")
        .says("what is there stays: of-runner, shared (2 files)");
    // There is nothing to deploy.
    let run = sandbox.sealift(&["rotate", "shared"]).exits(1).says("0 rotated, 1 left");
    assert!(!run.stderr.contains("deploy"), "{}", run.stderr);
    for name in ["shared", "of-runner"] {
        let value = sandbox.value(&format!("{name}-2"));
        sandbox.sealift_with(&["rotate", name, "--stdin"], value.as_bytes()).exits(0);
        assert_eq!(sandbox.show(name, "jay"), value.as_bytes());
    }
    sandbox.sealift(&["check"]).exits(0);
    sandbox.sealift(&["who", "--host", "web"]).exits(0);
}

#[test]
fn a_host_gets_another_key() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    let key = sandbox.ssh_key("web-new");
    sandbox.sealift(&["host", "rekey", "web", "--key", &key, "--identity", &sandbox.key("jay")]).exits(0);
    assert_eq!(sandbox.show("a", "web-new"), value.as_bytes());
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("web")]).exits(5);
    // The machine still exists, but its previous key may be in other hands.
    sandbox.sealift(&["check"]).exits(0).prints("knows this value: an old key of web");
    sandbox.sealift(&["check", "--strict"]).exits(3);
}

#[test]
fn one_host_of_many_gets_its_own_value_back() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.sealift(&["seal", "wg", "--hosts", "*", "--per-host", "--generate", "wireguard"]).exits(0);
    let other = sandbox.show("wg/web", "jay");
    std::fs::remove_file(sandbox.fleet().join("secrets/wg/db.age")).expect("removed");
    sandbox.sealift(&["check"]).exits(3).prints("`sealift rotate wg/db`");
    sandbox.sealift(&["rotate", "wg/db"]).exits(0);
    assert_eq!(sandbox.show("wg/web", "jay"), other);
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn a_host_that_joins_gets_values_of_its_own() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.sealift(&["seal", "wg", "--hosts", "*", "--per-host", "--generate", "wireguard"]).exits(0);
    let key = sandbox.ssh_key("new");
    sandbox.sealift(&["host", "add", "new", "--key", &key]).exits(0).says("generated a value for new: wg/new");
    assert_ne!(sandbox.show("wg/new", "new"), sandbox.show("wg/web", "jay"));
    sandbox.sealift(&["show", "wg/web", "--identity", &sandbox.key("new")]).exits(5);
    sandbox
        .sealift(&["show", "wg", "--identity", &sandbox.key("jay")])
        .exits(2)
        .says("each host has a value of its own: wg/new, wg/web");
}

/// Declares a secret without a value.
fn declare(sandbox: &Sandbox, name: &str, hosts: &str) {
    sandbox.write(
        "recipients.toml",
        sandbox.read("recipients.toml") + &format!("\n[secrets.{name}]\nhosts = [{hosts}]\n"),
    );
}

/// Seals a file with stock age to these keys, made by `ssh_key` and `age_key`; returns the value.
fn by_age(sandbox: &Sandbox, path: &str, keys: &[&str]) -> String {
    let value = sandbox.value(path);
    let plain = sandbox.path("plain");
    std::fs::write(&plain, &value).expect("written");
    let target = sandbox.fleet().join(path);
    std::fs::create_dir_all(target.parent().expect("a folder")).expect("made");
    let mut arguments = vec!["-o".to_owned(), path.to_owned()];
    for key in keys {
        let public = format!("{}.pub", sandbox.key(key));
        if !std::path::Path::new(&public).exists() {
            std::fs::write(&public, sandbox.tool("age-keygen", &["-y", &sandbox.key(key)])).expect("written");
        }
        arguments.extend(["-R".to_owned(), public]);
    }
    arguments.push(plain.display().to_string());
    sandbox.tool("age", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    std::fs::remove_file(&plain).expect("removed");
    value
}

fn commit(sandbox: &Sandbox) {
    sandbox.tool("git", &["add", "-A"]);
    sandbox.tool("git", &["commit", "-q", "--allow-empty", "-m", "a change"]);
}

/// Runs `rekey` with the admin's key.
fn rekey(sandbox: &Sandbox, more: &[&str]) -> Run {
    sandbox.sealift(&[&["rekey", "--identity", &sandbox.key("jay")], more].concat())
}

#[test]
fn files_of_other_tools_get_a_seal_by_name() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    declare(&sandbox, "a", "\"web\"");
    let value = by_age(&sandbox, "secrets/a.age", &["jay", "web"]);
    let binary = std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("read");
    sandbox.write("secrets/a.age", sandbox.tool("sh", &["-c", "printf -- '-----BEGIN AGE ENCRYPTED FILE-----\n'; base64 -w 64 secrets/a.age; printf -- '-----END AGE ENCRYPTED FILE-----\n'"]));
    assert!(binary.starts_with(b"age-enc"));
    commit(&sandbox);
    sandbox.sealift(&["check"]).exits(3).prints("it has no seal").prints("sealift rekey --adopt a");
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("web")]).exits(0).says("has no seal").prints(&value);
    let before = files(&sandbox);
    rekey(&sandbox, &[]).exits(1).says("a has no seal and stays as it is").says("sealift rekey --adopt a");
    rekey(&sandbox, &["--yes"]).exits(1);
    assert_eq!(files(&sandbox), before);
    rekey(&sandbox, &["--adopt", "a"]).exits(0).prints("a: it had no seal");
    assert!(
        std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("read").starts_with(b"age-encryption.org/v1\n")
    );
    sandbox.sealift(&["check"]).exits(0);
    assert_eq!(sandbox.show("a", "web"), value.as_bytes());
    rekey(&sandbox, &["--adopt", "a"]).exits(0).says("nothing to re-encrypt, 1 unchanged");
}

#[test]
fn the_value_of_another_secret_is_not_given_to_a_stranger() {
    // Where git has b's file, with its name in the error.
    let places: [(&str, &str); 10] = [
        ("a commit", "git add -A; git commit -q -m b; rm secrets/b.age; git add -A; git commit -q -m gone"),
        (
            "a commit, in other letters",
            "mv secrets/b.age secrets/B.txt; git add -A; git commit -q -m b; rm secrets/B.txt",
        ),
        ("another branch", "git checkout -q -b x; git add -A; git commit -q -m b; git checkout -q main"),
        (
            "a branch that is gone",
            "git checkout -q -b x; git add -A; git commit -q -m b; git checkout -q main; git branch -q -D x",
        ),
        ("a stash", "git add -A; git stash -q"),
        ("a dropped stash", "git add -A; git stash -q; git stash drop -q"),
        (
            "a commit that nothing leads to",
            "git checkout -q -b x; git add -A; git commit -q -m b; git checkout -q main; git branch -q -D x; git reflog expire --expire=now --all",
        ),
        ("the index", "git add -A; rm secrets/b.age"),
        ("the work tree", "true"),
        (
            "a merge",
            "git checkout -q -b x; git commit -q --allow-empty -m x; git checkout -q main; git commit -q --allow-empty -m y; git merge -q --no-commit --no-ff x; git add -A; git commit -q -m m; git rm -q secrets/b.age; git commit -q -m gone",
        ),
    ];
    for (place, script) in places {
        for armored in [false, true] {
            let sandbox = Sandbox::with_fleet(&["web", "evil"]);
            by_age(&sandbox, "secrets/b.age", &["jay", "web"]);
            let stolen = if armored {
                sandbox.tool("sh", &["-c", "printf -- '-----BEGIN AGE ENCRYPTED FILE-----\n'; base64 -w 64 secrets/b.age; printf -- '-----END AGE ENCRYPTED FILE-----\n'"])
            } else {
                std::fs::read(sandbox.fleet().join("secrets/b.age")).expect("read")
            };
            sandbox.tool("sh", &["-ec", script]);
            declare(&sandbox, "a", "\"evil\"");
            sandbox.write("secrets/a.age", &stolen);
            let run = sandbox.sealift(&["check"]).exits(3);
            run.prints("evil gains access").prints("web loses access");
            let run = sandbox.sealift(&["rekey", "--dry-run"]).exits(0);
            run.says("evil gains access");
            let before = files(&sandbox);
            rekey(&sandbox, &[]).exits(1).says("evil gains access");
            let run = rekey(&sandbox, &["--adopt", "a", "--remove", "web", "--yes"]);
            assert_eq!(run.code, 8, "{place}: {run:?}");
            run.says("this very file is, or was, secrets/");
            sandbox.sealift(&["mv", "a", "c", "--identity", &sandbox.key("jay")]).exits(8).says("--adopt a");
            let mut edit = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
            edit.args(["edit", "a", "--identity", &sandbox.key("jay")]).env("EDITOR", "sed -i s/canary/xcanary/");
            sandbox.run(edit, b"").exits(8).says("has no seal");
            assert_eq!(files(&sandbox), before, "{place}");
            sandbox.sealift(&["show", "a", "--identity", &sandbox.key("evil")]).exits(5);
        }
    }
}

#[test]
fn a_name_that_had_a_seal_does_not_lose_it() {
    for there in ["commit -q -m sealed", "stash -q"] {
        let sandbox = Sandbox::with_fleet(&["web"]);
        sandbox.seal("a", &["--hosts", "web"]);
        let policy = sandbox.read("recipients.toml");
        sandbox.tool("sh", &["-ec", &format!("git add -A; git {there}")]);
        sandbox.write("recipients.toml", policy);
        by_age(&sandbox, "secrets/a.age", &["jay", "web"]);
        rekey(&sandbox, &["--adopt", "a"]).exits(8).says("there was a file with a seal of this name");
    }
}

#[test]
fn where_the_history_is_cut_nothing_is_adopted() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    declare(&sandbox, "a", "\"web\"");
    by_age(&sandbox, "secrets/a.age", &["jay", "web"]);
    commit(&sandbox);
    // A partial clone lacks the first version.
    for text in ["x", "y"] {
        sandbox.write("note", text);
        commit(&sandbox);
    }
    sandbox.tool("git", &["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", sandbox.fleet().display());
    for options in [&["--depth", "1"][..], &["--filter=blob:none"]] {
        sandbox.tool("git", &[&["clone", "-q"], options, &[&url, "../cut"]].concat());
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(["rekey", "--adopt", "a", "--identity", &sandbox.key("jay")]).current_dir(sandbox.path("cut"));
        sandbox.run(command, b"").exits(11).says("the history is cut");
        std::fs::remove_dir_all(sandbox.path("cut")).expect("removed");
    }
    let head = String::from_utf8(sandbox.tool("git", &["rev-parse", "HEAD"])).expect("UTF-8");
    sandbox.write(".git/info/grafts", &head);
    rekey(&sandbox, &["--adopt", "a"]).exits(11).says("grafts");
    std::fs::remove_file(sandbox.fleet().join(".git/info/grafts")).expect("removed");
    sandbox.tool("git", &["replace", "--graft", "HEAD"]);
    rekey(&sandbox, &["--adopt", "a"]).exits(11).says("replaced");
    sandbox.tool("git", &["replace", "-d", head.trim()]);
    rekey(&sandbox, &["--adopt", "a"]).exits(0);
}

#[test]
fn who_reads_a_file_without_a_seal_is_named_and_never_forgotten() {
    let sandbox = Sandbox::with_fleet(&["web", "db", "new"]);
    sandbox.ssh_key("stranger");
    sandbox.age_key("mallory");
    declare(&sandbox, "a", "\"web\", \"new\"");
    let value = by_age(&sandbox, "secrets/a.age", &["jay", "web", "db", "stranger", "mallory"]);
    commit(&sandbox);
    let run = sandbox.sealift(&["check"]).exits(3);
    run.prints("new gains access")
        .prints("db loses access")
        .prints("an unknown ssh-ed25519 key")
        .prints("an unknown X25519 key");
    let finding = &sandbox.sealift(&["check", "--json"]).exits(3).json()["findings"][0];
    let listed = |value: &serde_json::Value| value.to_string();
    assert_eq!(listed(&finding["gains"]), "[\"new\"]");
    assert_eq!(listed(&finding["loses"]), "[\"db\"]");
    assert_eq!(listed(&finding["may_gain"]), "[\"jay (admin)\"]");
    assert_eq!(finding["unknown"].as_array().expect("a list").len(), 2);
    let plan = sandbox.sealift(&["rekey", "--adopt", "a", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(listed(&plan["changed"][0]["loses"]), "[\"db\"]");
    assert_eq!(listed(&plan["changed"][0]["gains"]), "[\"new\"]");
    rekey(&sandbox, &["--adopt", "a", "--yes"]).exits(1).says("db would lose access to a").says("--remove db");
    rekey(&sandbox, &["--adopt", "a", "--remove", "db"]).exits(0).prints("+new").prints("-db");
    for key in ["db", "stranger", "mallory"] {
        sandbox.sealift(&["show", "a", "--identity", &sandbox.key(key)]).exits(5);
    }
    assert_eq!(sandbox.show("a", "new"), value.as_bytes());
    let knows = |count: usize| {
        let run = sandbox.sealift(&["who", "a"]).exits(0).prints("knows db");
        assert_eq!(run.text().matches("knows an unknown key").count(), count, "{}", run.text());
    };
    knows(2);
    rekey(&sandbox, &["--all"]).exits(0);
    knows(2);
    sandbox.sealift(&["check", "--strict"]).exits(3).prints("knows this value");
    sandbox.sealift_with(&["rotate", "a", "--stdin"], sandbox.value("new").as_bytes()).exits(0);
    assert!(!sandbox.sealift(&["who", "a"]).exits(0).text().contains("knows"));
}

#[test]
fn nobody_loses_access_unasked() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "*"]);
    commit(&sandbox);
    let text = sandbox.read("recipients.toml").replace("hosts = [\"*\"]", "hosts = [\"web\"]");
    sandbox.write("recipients.toml", &text);
    let before = files(&sandbox);
    sandbox.sealift(&["check"]).exits(3).prints("can read it and should not: db").prints("sealift rekey --remove db");
    let plan = sandbox.sealift(&["rekey", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(plan["changed"][0]["loses"].to_string(), "[\"db\"]");
    for more in [&[][..], &["--yes"], &["--all", "--yes"]] {
        rekey(&sandbox, more).exits(1).says("db would lose access to a").says("--remove db");
    }
    // Naming someone who would lose nothing is an error, and nobody else loses access.
    for more in [&[][..], &["--remove", "db"], &["--yes"], &["--dry-run"]] {
        let run = rekey(&sandbox, &[&["--remove", "web"], more].concat()).exits(2);
        run.says("web would lose no access: recipients.toml gives it a").says("those who would: db");
    }
    rekey(&sandbox, &["--remove", "wbe"]).exits(2).says("no reader of these files is called that");
    assert_eq!(files(&sandbox), before);
    // Neither through a verb about another reader, nor through a new name.
    let key = sandbox.ssh_key("new");
    let jay = sandbox.key("jay");
    let wider = text
        .replace("hosts = [\"web\"]", "hosts = [\"web\", \"@n\"]")
        .replace("[hosts.web]", "[hosts.n]\nkeys = [\"NEW\"]\ntags = [\"n\"]\n\n[hosts.web]")
        .replace("NEW", &sandbox.ssh_key("n"));
    sandbox.write("recipients.toml", &wider);
    sandbox
        .sealift(&["host", "add", "new", "--key", &key, "--tag", "n", "--identity", &jay])
        .exits(1)
        .says("db would lose access to a");
    sandbox.sealift(&["host", "rm", "web", "--yes", "--identity", &jay]).exits(1).says("db would lose access to a");
    sandbox
        .sealift(&["host", "rekey", "web", "--key", &key, "--identity", &jay])
        .exits(1)
        .says("db would lose access to a");
    sandbox.sealift(&["mv", "a", "b", "--identity", &jay]).exits(1).says("db would lose access to a");
    sandbox.write("recipients.toml", &text);
    assert_eq!(files(&sandbox), before);
    // A removed host is still named, from the last commit.
    let gone = text.split("[hosts.db]").next().expect("a start").to_owned() + "\n[secrets.a]\nhosts = [\"web\"]\n";
    sandbox.write("recipients.toml", gone);
    rekey(&sandbox, &[]).exits(1).says("db (a key of an earlier recipients.toml) would lose access to a");
    sandbox.write("recipients.toml", &text);
    rekey(&sandbox, &["--remove", "db"]).exits(0).prints("a: -db");
    rekey(&sandbox, &["--remove", "db"])
        .exits(2)
        .says("db would lose no access: no such file is sealed to it")
        .says("change that first");
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("db")]).exits(5);
}

#[test]
fn a_person_is_asked_before_readers_change() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let text = sandbox.read("recipients.toml").replace("hosts = [\"web\"]", "hosts = [\"db\"]");
    sandbox.write("recipients.toml", text);
    let before = files(&sandbox);
    let script = |answer: &str| {
        format!(
            "spawn $env(S) rekey --identity {}\nsays \"give access to db and take it from web? \"\nsend \"{answer}\\r\"\nends\n",
            sandbox.key("jay")
        )
    };
    assert!(on_terminal(&sandbox, &script("n")).text().contains("declined"));
    assert_eq!(files(&sandbox), before);
    let shown = on_terminal(&sandbox, &script("y")).text();
    assert!(shown.contains("<0>") && shown.contains("db gains access"), "{shown}");
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn a_new_value_for_other_readers_says_so() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let text = sandbox.read("recipients.toml").replace("hosts = [\"web\"]", "hosts = [\"db\"]");
    sandbox.write("recipients.toml", text);
    let value = sandbox.value("second");
    let run = sandbox.sealift_with(&["rotate", "a", "--stdin", "--json"], value.as_bytes()).exits(0);
    assert_eq!(run.json()["rotated"][0]["loses"].to_string(), "[\"web\"]");
    assert_eq!(run.json()["rotated"][0]["gains"].to_string(), "[\"db\"]");
    run.says("web could read the value before, and cannot read this one").says("db gains access");
    // The same change of several files is listed once.
    for name in ["b", "c"] {
        sandbox.sealift(&["seal", name, "--hosts", "web", "--generate", "password"]).exits(0);
    }
    sandbox.write("recipients.toml", sandbox.read("recipients.toml").replace("[\"web\"]", "[\"web\", \"db\"]"));
    let run = sandbox.sealift(&["rotate", "b", "c"]).exits(0);
    run.says("warning: db gains access that the value before did not give: b, c (2 files)");
}

#[test]
fn a_renamed_secret_keeps_value_and_serial() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let value = sandbox.value("second");
    sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], value.as_bytes()).exits(0);
    sandbox.sealift(&["mv", "a", "b/c", "--identity", &sandbox.key("jay")]).exits(0);
    assert_eq!(sandbox.show("b/c", "web"), value.as_bytes());
    sandbox.sealift(&["list"]).exits(0).prints("b/c     sealed  2");
    sandbox.sealift(&["check"]).exits(0);
    sandbox.sealift(&["rm", "b/c"]).exits(1).says("`--yes`");
    sandbox.sealift(&["rm", "b/c", "--yes"]).exits(0);
    assert!(!sandbox.read("recipients.toml").contains("b/c"));
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn nobody_gains_access_by_the_way() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web,db"]);
    let jay = sandbox.key("jay");
    let (evil, new) = (sandbox.age_key("evil"), sandbox.ssh_key("new"));
    let text = sandbox.read("recipients.toml").replace("hosts = [\"web\", \"db\"]", "hosts = [\"*\"]");
    sandbox.write("recipients.toml", format!("{text}\n[hosts.evil]\nkeys = [\"{evil}\"]\n"));
    commit(&sandbox);
    let before = files(&sandbox);
    let key = ["--key", &new, "-i", &jay];
    for verb in [
        &[&["mv", "a", "aa"], &key[2..]].concat()[..],
        &[&["mv", "a", "aa", "--json"], &key[2..]].concat(),
        &[&["host", "add", "new"], &key[..]].concat(),
        &[&["host", "rekey", "web"], &key[..]].concat(),
        &[&["host", "rm", "db", "--yes"], &key[2..]].concat(),
    ] {
        let run = sandbox.sealift(verb).exits(1).says("evil would gain access to a");
        run.says("if that is intended: `sealift rekey a` first");
        assert_eq!(files(&sandbox), before, "{verb:?}");
    }
    // A user is asked, and the result is in the output.
    let script = |answer: &str| {
        format!("spawn $env(S) mv a aa --json -i {jay}\nsays \"give access to evil? \"\nsend \"{answer}\\r\"\nends\n")
    };
    assert!(on_terminal(&sandbox, &script("n")).text().contains("declined"));
    assert_eq!(files(&sandbox), before);
    let shown = on_terminal(&sandbox, &script("y")).text();
    assert!(shown.contains("<0>") && shown.contains("\"gains\""), "{shown}");
}

#[test]
fn one_more_key_of_a_reader_is_told_as_one() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let (jay, evil) = (sandbox.key("jay"), sandbox.age_key("evil"));
    let more = format!("one more key of web ({}…)", &evil[..20]);
    sandbox.sealift(&["who", "a"]).exits(0).prints("reads web\n");
    let text = sandbox.read("recipients.toml");
    let (start, end) = text.split_once("[hosts.web]\nkeys = [").expect("web");
    sandbox.write("recipients.toml", format!("{start}[hosts.web]\nkeys = [\"{evil}\", {end}"));
    sandbox.sealift(&["check"]).exits(3).prints(&format!("should read it and cannot: {more}"));
    sandbox.sealift(&["who", "a"]).exits(0).prints("reads web\n").prints(&format!("lacks {more}"));
    sandbox.sealift(&["rekey", "--dry-run"]).exits(0).prints(&format!("a: +{more}"));
    sandbox.sealift(&["mv", "a", "b", "-i", &jay]).exits(1).says(&format!("{more} would gain access to a"));
    let value = sandbox.value("a");
    let new = sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], value.as_bytes()).exits(0);
    new.says(&format!("a: {more} gains access that the value before did not give"));
    let who = sandbox.sealift(&["who", "a", "--json"]).exits(0).json();
    assert_eq!(who["files"][0]["now"][1], "web");
    assert_eq!(who["files"][0]["keys"]["web"].as_array().expect("keys").len(), 2);
    sandbox.sealift(&["who", "a"]).exits(0).prints("reads web  by 2 keys: ").prints(&evil[..20]);
    // A file without a seal still shows its SSH key.
    declare(&sandbox, "c", "\"web\"");
    by_age(&sandbox, "secrets/c.age", &["jay", "web"]);
    sandbox.sealift(&["check"]).exits(3).prints(&format!("jay (admin), {more} have or gain access"));
}

#[test]
fn a_file_of_another_tool_is_named_where_a_host_comes_or_goes() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    declare(&sandbox, "a", "\"*\"");
    let text = sandbox.read("recipients.toml").replace("hosts = [\"*\"]", "hosts = [\"*\"]\nallow_unsealed = true");
    sandbox.write("recipients.toml", text);
    let value = by_age(&sandbox, "secrets/a.age", &["jay", "web", "db"]);
    commit(&sandbox);
    let jay = sandbox.key("jay");
    let run = sandbox.sealift(&["host", "rm", "db", "--yes", "--identity", &jay]).exits(4).prints("knows a");
    run.says("db (retired) loses access").says("sealift rekey --adopt a");
    let key = sandbox.ssh_key("new");
    sandbox.sealift(&["host", "add", "new", "--key", &key, "--identity", &jay]).exits(4).says("new gains access");
    rekey(&sandbox, &["--adopt", "a"]).exits(1).says("db (retired) would lose access to a");
    rekey(&sandbox, &["--adopt", "a", "--remove", "db"]).exits(0);
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("db")]).exits(5);
    for reader in ["web", "new"] {
        assert_eq!(sandbox.show("a", reader), value.as_bytes());
    }
}

#[test]
fn a_public_half_never_outlives_its_key() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.sealift(&["seal", "wg", "--hosts", "web", "--generate", "wireguard"]).exits(0);
    assert!(sandbox.fleet().join("secrets/wg.pub").exists());
    sandbox
        .sealift_with(&["seal", "wg", "--replace", "--stdin"], sandbox.value("wg").as_bytes())
        .exits(0)
        .says("is removed");
    assert!(!sandbox.fleet().join("secrets/wg.pub").exists());
}

#[test]
fn a_serial_goes_on_where_the_file_is_lost() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], sandbox.value("2").as_bytes()).exits(0);
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "two"]);
    sandbox.write("secrets/a.age", "<<<<<<< ours\n");
    sandbox
        .sealift_with(&["seal", "a", "--replace", "--stdin"], sandbox.value("3").as_bytes())
        .exits(0)
        .says("(version 3)");
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let keys: Vec<String> =
        (0..520).map(|_| format!("\"{}\"", age::x25519::Identity::generate().to_public())).collect();
    let text = sandbox.read("recipients.toml") + &format!("\n[hosts.many]\nkeys = [{}]\n", keys.join(", "));
    sandbox.write("recipients.toml", text);
    let value = sandbox.value("a");
    sandbox.sealift_with(&["seal", "a", "--hosts", "*", "--stdin"], value.as_bytes()).exits(2).says("512 recipients");
    assert!(!sandbox.fleet().join("secrets/a.age").exists());
}

#[test]
fn a_dry_run_takes_no_lock() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let lock = std::fs::File::open(sandbox.fleet().join(".git/sealift/lock")).expect("the lock is there");
    lock.lock().expect("locked");
    sandbox.sealift(&["rekey", "--dry-run"]).exits(0);
    sandbox.sealift(&["rekey"]).exits(1).says("another sealift is running here");
}

#[test]
fn the_repositorys_hooks_do_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write(".githooks/post-index-change", "#!/bin/sh\ntouch ../ran\n");
    let hook = sandbox.fleet().join(".githooks/post-index-change");
    std::fs::set_permissions(hook, std::fs::Permissions::from_mode(0o755)).expect("executable");
    sandbox.tool("git", &["config", "core.hooksPath", ".githooks"]);
    sandbox.seal("a", &["--hosts", "web"]);
    assert!(!sandbox.path("ran").exists());
}
