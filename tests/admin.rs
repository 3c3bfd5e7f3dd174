//! `admin`: removing someone who opens every secret takes one change or none, and nobody locks themselves out.

use std::collections::BTreeMap;

use crate::harness::{Run, Sandbox};
use crate::identity::on_terminal;

/// A fleet with the admins jay and kim, to whom all files are sealed.
fn fleet() -> Sandbox {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    admins(&sandbox, &format!("kim = [\"{}\"]\n", sandbox.age_key("kim")));
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.seal("b", &["--hosts", "db"]);
    // A secret that no host receives.
    let text = sandbox.read("recipients.toml");
    sandbox.write("recipients.toml", text + "\n[secrets.ours]\nhosts = []\n");
    sandbox.seal("ours", &[]);
    sandbox.tool("sh", &["-ec", "git add -A; git commit -q -m two"]);
    sandbox
}

/// Adds lines to `[admins]`.
fn admins(sandbox: &Sandbox, lines: &str) {
    let text = sandbox.read("recipients.toml");
    sandbox.write("recipients.toml", text.replace("[admins]\n", &format!("[admins]\n{lines}")));
}

fn remove(sandbox: &Sandbox, words: &[&str], key: &str) -> Run {
    sandbox.sealift(&[&["admin", "rm"], words, &["--identity", &sandbox.key(key)]].concat())
}

fn files(sandbox: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    let listing = sandbox.tool("find", &["secrets", "recipients.toml", "-type", "f"]);
    let names = String::from_utf8(listing).expect("UTF-8");
    names.lines().map(|name| (name.to_owned(), std::fs::read(sandbox.fleet().join(name)).expect("read"))).collect()
}

#[test]
fn who_is_removed_opens_nothing_and_what_they_know_is_named() {
    let sandbox = fleet();
    let value = sandbox.value("a");
    assert_eq!(sandbox.show("a", "kim"), value.as_bytes());
    let before = files(&sandbox);
    // No terminal to ask on.
    remove(&sandbox, &["kim"], "jay").exits(1).says("kim was not removed; nothing was changed").says("`--yes`");
    assert_eq!(files(&sandbox), before);
    let run = remove(&sandbox, &["kim", "--yes"], "jay").exits(0);
    run.prints("kim (admin) loses access: a, b, ours (3 files)")
        .says("kim knows the values of these 3 files until they get new ones")
        .says("sealift rotate --exposed-to kim")
        .says("one key alone opens everything now");
    assert!(!sandbox.read("recipients.toml").contains("kim"));
    for name in ["a", "b", "ours"] {
        sandbox.sealift(&["show", name, "--identity", &sandbox.key("kim")]).exits(5);
        assert_eq!(sandbox.show(name, "jay"), sandbox.value(name).as_bytes());
    }
    let check = sandbox.sealift(&["check"]).exits(0);
    check
        .prints(
            "no longer a reader, but knows these values: kim (a key of an earlier recipients.toml): a, b, ours (3 files)",
        )
        .prints("`sealift rotate --exposed-to kim`");
    // All values are new, and kim knows none that is in use.
    sandbox
        .sealift(&["rotate", "--exposed-to", "webb"])
        .exits(2)
        .says("there is no host or admin webb, and no sealed file has a past reader of this name")
        .says("did you mean web?");
    sandbox.sealift(&["rotate", "--exposed-to", "kim"]).exits(1).says("0 rotated, 3 left");
    for name in ["a", "b", "ours"] {
        sandbox.sealift_with(&["rotate", name, "--stdin"], sandbox.value("new").as_bytes()).exits(0);
    }
    assert!(!sandbox.sealift(&["check"]).exits(0).text().contains("kim"));
    sandbox.sealift(&["rotate", "--exposed-to", "kim"]).exits(2);
}

#[test]
fn what_no_commit_has_is_not_found_by_its_name() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    admins(&sandbox, &format!("kim = [\"{}\"]\n", sandbox.age_key("kim")));
    sandbox.seal("a", &["--hosts", "web"]);
    // The advice works.
    remove(&sandbox, &["kim", "--yes"], "jay").exits(0).says("next: sealift rotate NAME, for each of 1 value");
    sandbox.sealift(&["rotate", "--exposed-to", "kim"]).exits(2).says("there is no host or admin kim");
}

#[test]
fn nobody_shuts_themselves_or_everybody_out() {
    let sandbox = fleet();
    let before = files(&sandbox);
    // With only one's own key; another key shows that somebody can still open the files.
    let own = remove(&sandbox, &["kim", "--yes"], "kim").exits(1);
    own.says("the only key at hand is kim's, which is to be removed").says("another admin does it");
    // A host's key is not an admin's.
    let run = remove(&sandbox, &["kim", "--yes"], "web");
    assert_ne!(run.code, 0, "{run:?}");
    assert_eq!(files(&sandbox), before);
    remove(&sandbox, &["kim", "--yes"], "jay").exits(0);
    let before = files(&sandbox);
    remove(&sandbox, &["jay", "--yes"], "jay").exits(1).says("without it the fleet has no admin");
    assert_eq!(files(&sandbox), before);
    // Names that are not admins.
    remove(&sandbox, &["web", "--yes"], "jay").exits(2).says("it is a host: `sealift host rm web`");
    remove(&sandbox, &["jya", "--yes"], "jay").exits(2).says("did you mean jay?");
    remove(&sandbox, &["@web", "--yes"], "jay").exits(2).says("not an admin name");
    assert_eq!(files(&sandbox), before);
}

#[test]
fn a_host_of_the_same_name_stays_and_what_else_drifted_is_not_done_by_the_way() {
    let sandbox = Sandbox::with_fleet(&["web", "kim"]);
    admins(&sandbox, &format!("kim = [\"{}\"]\n", sandbox.age_key("kim-admin")));
    sandbox.seal("a", &["--hosts", "kim"]);
    sandbox.seal("b", &["--hosts", "web"]);
    sandbox.tool("sh", &["-ec", "git add -A; git commit -q -m two"]);
    // The host of the same name loses its secret by an edit, and web gains it: `admin rm kim` was not asked to do
    // either.
    let policy = sandbox.read("recipients.toml");
    sandbox.write("recipients.toml", policy.replacen("hosts = [\"kim\"]", "hosts = [\"web\"]", 1));
    let before = files(&sandbox);
    let run = remove(&sandbox, &["kim", "--yes"], "jay").exits(1);
    run.says("somebody would lose access; nothing was changed").says("kim would lose access to a");
    sandbox.write("recipients.toml", policy.replacen("hosts = [\"kim\"]", "hosts = [\"*\"]", 1));
    let run = remove(&sandbox, &["kim", "--yes"], "jay").exits(1);
    run.says("somebody would gain access; nothing was changed").says("web would gain access to a");
    sandbox.write("recipients.toml", &policy);
    assert_eq!(files(&sandbox)["secrets/a.age"], before["secrets/a.age"]);
    remove(&sandbox, &["kim", "--yes"], "jay").exits(0);
    assert_eq!(sandbox.show("a", "kim"), sandbox.value("a").as_bytes());
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("kim-admin")]).exits(5);
    assert!(sandbox.read("recipients.toml").contains("[hosts.kim]"));
    // If a host and an admin have the same name, the host is selected.
    let run = sandbox.sealift(&["rotate", "--exposed-to", "kim"]).exits(1).says("0 rotated, 1 left");
    assert!(!run.stderr.contains("b keeps"), "{}", run.stderr);
}

#[test]
fn one_key_of_several_goes_alone_and_another_of_that_name_gains_nothing() {
    let sandbox = fleet();
    let (lost, sneaked) = (sandbox.age_key("lost"), sandbox.age_key("sneaked"));
    let jay = || sandbox.read("recipients.toml").lines().find(|line| line.starts_with("jay = ")).unwrap().to_owned();
    let with = |key: &str| {
        let (line, text) = (jay(), sandbox.read("recipients.toml"));
        sandbox.write("recipients.toml", text.replace(&line, &line.replace("\"]", &format!("\", \"{key}\"]"))));
    };
    with(&lost);
    sandbox.sealift(&["rekey", "--identity", &sandbox.key("jay")]).exits(0);
    sandbox.tool("sh", &["-ec", "git add -A; git commit -q -m three"]);
    remove(&sandbox, &["jay", "--key", &sneaked, "--yes"], "jay").exits(2).says("jay has no such key");
    // An additional key under the name of the removed admin is not let in.
    with(&sneaked);
    let run = remove(&sandbox, &["jay", "--key", &lost, "--yes"], "jay").exits(1);
    run.says("somebody would gain access").says("one more key of jay (admin)");
    sandbox.tool("git", &["checkout", "-q", "."]);
    let listed = sandbox.sealift(&["admin", "list", "--json"]).exits(0).json();
    assert_eq!(listed["admins"][0]["keys"][1], serde_json::json!(lost));
    let run = remove(&sandbox, &["jay", "--key", &lost, "--yes", "--json"], "jay").exits(0).json();
    assert_eq!((&run["admin"], &run["stays"], &run["keys_left"]), (&"jay".into(), &true.into(), &2.into()));
    assert_eq!((&run["keys"], &run["knew"]), (&serde_json::json!([lost]), &serde_json::json!(["a", "b", "ours"])));
    assert!(jay().contains("jay = [\"age1") && !jay().contains(&lost), "{}", jay());
    sandbox.sealift(&["show", "a", "--identity", &sandbox.key("lost")]).exits(5);
    assert_eq!(sandbox.show("a", "jay"), sandbox.value("a").as_bytes());
}

#[test]
fn at_a_terminal_it_is_shown_and_asked() {
    let sandbox = fleet();
    let before = files(&sandbox);
    let script = format!(
        "spawn $env(S) admin rm kim --identity {}\n\
         says \"kim (admin) loses access: a, b, ours (3 files)\"\n\
         says \"Remove the admin kim, and re-encrypt 3 files?\"\n",
        sandbox.key("jay")
    );
    on_terminal(&sandbox, &format!("{script}send \"n\\r\"\nsays \"nothing was changed\"\nends\n"));
    assert_eq!(files(&sandbox), before);
    let done = on_terminal(&sandbox, &format!("{script}send \"y\\r\"\nsays \"removed the admin kim\"\nends\n")).text();
    assert!(done.contains("<0>"), "{done}");
}

#[test]
fn a_file_without_a_seal_stays_open_to_them_and_that_is_said() {
    let sandbox = fleet();
    sandbox.tool(
        "sh",
        &[
            "-ec",
            &format!(
                "printf x | age -e -i '{}' -i '{}' -o secrets/b.age; git add -A; git commit -q -m bare",
                sandbox.key("jay"),
                sandbox.key("kim")
            ),
        ],
    );
    remove(&sandbox, &["kim", "--yes"], "jay").exits(4).says("b has no seal and stays as it is");
}
