//! rekey and host: policy and files in one step, or neither; unchanged files byte-identical.

use std::collections::BTreeMap;

use crate::harness::Sandbox;

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
        .prints("everywhere: +new");
    assert_eq!(changed(&before, &files(&sandbox)), ["recipients.toml", "secrets/everywhere.age", "secrets/runner.age"]);
    assert_eq!(sandbox.show("everywhere", "new"), everywhere.as_bytes());
    assert_eq!(sandbox.show("runner", "new"), runner.as_bytes());
    sandbox.sealift(&["show", "db-only", "--identity", &sandbox.key("new")]).exits(5);
    sandbox.sealift(&["check"]).exits(0);
    // A rekey changes who reads a value, never which value it is.
    sandbox.sealift(&["list"]).exits(0).prints("everywhere  sealed  1");
}

#[test]
fn what_is_in_line_stays_byte_for_byte() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let before = files(&sandbox);
    sandbox.sealift(&["rekey"]).exits(0).says("0 sealed anew, 1 unchanged");
    assert_eq!(files(&sandbox), before);
}

#[test]
fn a_dry_run_prints_the_plan_and_needs_no_key() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let text = sandbox.read("recipients.toml").replace("hosts = [\"web\"]", "hosts = [\"db\"]");
    sandbox.write("recipients.toml", text);
    let before = files(&sandbox);
    sandbox.sealift(&["rekey", "--dry-run"]).exits(0).prints("a: +db -web").says("1 would be sealed anew");
    assert_eq!(files(&sandbox), before);
    sandbox
        .sealift(&["check"])
        .exits(3)
        .prints("can read it and should not: web")
        .prints("should read it and cannot: db");
    sandbox.sealift(&["rekey", "--identity", &sandbox.key("jay")]).exits(0);
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
    sandbox.sealift(&["rekey", "--identity", &sandbox.key("jay")]).exits(8).says("secrets/b.age").says("damaged");
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
    let run = sandbox.sealift(&["host", "rm", "web", "--identity", &sandbox.key("jay")]).exits(0);
    for file in ["knows made", "knows of-runner", "knows shared"] {
        assert!(run.text().contains(file), "{}", run.text());
    }
    assert!(
        !sandbox.fleet().join("secrets/own/web.age").exists() && !sandbox.fleet().join("secrets/own/web.pub").exists()
    );
    for name in ["shared", "of-runner", "made"] {
        sandbox.sealift(&["show", name, "--identity", &sandbox.key("web")]).exits(5);
    }
    sandbox.sealift(&["check"]).exits(3).prints("the removed host web still knows this value");
    // The key cannot come back.
    let key = std::fs::read_to_string(sandbox.key("web.pub")).expect("a key");
    sandbox
        .sealift(&["host", "add", "web2", "--key", key.trim(), "--identity", &sandbox.key("jay")])
        .exits(2)
        .says("retired");
    // Made values by themselves, the others need somebody.
    sandbox.sealift(&["rotate", "--exposed-to", "web"]).exits(4).prints("made: value 2").says("shared keeps its value");
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
    // The machine is still there; whoever has its former key may be another.
    sandbox.sealift(&["check"]).exits(0).prints("knows this value: a former key of web");
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
    sandbox.sealift(&["host", "add", "new", "--key", &key]).exits(0).says("made a value of its own for new: wg/new");
    assert_ne!(sandbox.show("wg/new", "new"), sandbox.show("wg/web", "jay"));
    sandbox.sealift(&["show", "wg/web", "--identity", &sandbox.key("new")]).exits(5);
    sandbox
        .sealift(&["show", "wg", "--identity", &sandbox.key("jay")])
        .exits(2)
        .says("each host has a value of its own: wg/new, wg/web");
}

#[test]
fn files_of_other_tools_get_a_seal() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    let recipients: Vec<String> = ["jay", "web"].map(|name| format!("{}.pub", sandbox.key(name))).to_vec();
    let jay = String::from_utf8(sandbox.tool("age-keygen", &["-y", &sandbox.key("jay")])).expect("UTF-8");
    std::fs::write(&recipients[0], jay).expect("written");
    let plain = sandbox.path("plain");
    std::fs::write(&plain, &value).expect("written");
    sandbox.allow(&plain);
    let arguments =
        ["--armor", "-R", &recipients[0], "-R", &recipients[1], "-o", "secrets/a.age", plain.to_str().expect("UTF-8")];
    sandbox.tool("age", &arguments);
    assert!(sandbox.read("secrets/a.age").starts_with("-----BEGIN AGE"));
    sandbox.sealift(&["check"]).exits(3).prints("it has no seal");
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("web")]).exits(0).says("has no seal").prints(&value);
    sandbox.sealift(&["rekey", "--identity", &sandbox.key("jay")]).exits(0).prints("a: it had no seal");
    assert!(
        std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("read").starts_with(b"age-encryption.org/v1\n")
    );
    sandbox.sealift(&["check"]).exits(0);
    assert_eq!(sandbox.show("a", "web"), value.as_bytes());
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
fn a_removed_host_loses_files_of_other_tools_too() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    let value = sandbox.seal("a", &["--hosts", "*"]);
    let text = sandbox.read("recipients.toml").replace("hosts = [\"*\"]", "hosts = [\"*\"]\nallow_unsealed = true");
    sandbox.write("recipients.toml", text);
    let plain = sandbox.path("plain");
    std::fs::write(&plain, &value).expect("written");
    sandbox.allow(&plain);
    let jay = String::from_utf8(sandbox.tool("age-keygen", &["-y", &sandbox.key("jay")])).expect("UTF-8");
    let (web, db) = (format!("{}.pub", sandbox.key("web")), format!("{}.pub", sandbox.key("db")));
    let plain = plain.to_str().expect("UTF-8");
    sandbox.tool("age", &["-r", jay.trim(), "-R", &web, "-R", &db, "-o", "secrets/a.age", plain]);
    sandbox.sealift(&["host", "rm", "db", "--identity", &sandbox.key("jay")]).exits(0).prints("knows a");
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("db")]).exits(5);
    assert_eq!(sandbox.show("a", "web"), value.as_bytes());
}

#[test]
fn a_public_half_never_outlives_its_key() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.sealift(&["seal", "wg", "--hosts", "web", "--generate", "wireguard"]).exits(0);
    assert!(sandbox.fleet().join("secrets/wg.pub").exists());
    sandbox.sealift_with(&["seal", "wg", "--replace", "--stdin"], sandbox.value("wg").as_bytes()).exits(0).says("is removed");
    assert!(!sandbox.fleet().join("secrets/wg.pub").exists());
}

#[test]
fn a_serial_goes_on_where_the_file_is_lost() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], sandbox.value("2").as_bytes()).exits(0);
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "two"]);
    sandbox.write("secrets/a.age", "<<<<<<< ours\n");
    sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], sandbox.value("3").as_bytes()).exits(0).says("(value 3)");
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
    sandbox.sealift(&["rekey"]).exits(1).says("another sealift is at work here");
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
