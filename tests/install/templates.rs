//! Templates: files that the machine assembles from text and values.

use serde_json::{Value, json};

use sealift::adapters::fs::root::Root;
use sealift::commands::install;

use super::{Machine, entry};

/// A template in a manifest.
fn template(name: &str, content: &str) -> Value {
    json!({
        "name": name, "content": content, "owner": "root", "group": "root", "mode": "0400",
        "path": format!("/run/sealift/{name}"), "restart": [], "reload": [],
    })
}

/// The manifest of `web` with these templates.
fn manifest(machine: &Machine, templates: &[Value]) -> String {
    machine.manifest(|manifest| {
        manifest["version"] = json!(2);
        manifest["templates"] = json!(templates);
    })
}

#[test]
fn values_are_put_into_the_text_once() {
    let Some(machine) = Machine::new() else { return };
    let user = machine.sandbox.seal("db/user", &["--hosts", "web"]);
    // A value that looks like a placeholder is not expanded: otherwise choosing one secret would give access to
    // another.
    let sly = format!("{}<sealift:db/user>", machine.sandbox.canary);
    machine.sandbox.sealift_with(&["seal", "sly", "--hosts", "web", "--stdin"], sly.as_bytes()).exits(0);
    let mut app = template("app.ini", "user=<sealift:db/user>\npassword='<sealift:sly>'\n# <sealift:db/user>\n");
    app["owner"] = json!("web");
    app["mode"] = json!("0440");
    app["path"] = json!("/etc/app/app.ini");
    machine.sandbox.allow(machine.root.path("etc/app"));
    let path = manifest(&machine, &[app]);
    machine.install_from(&path, &["--check"]).exits(2);
    machine.sandbox.sealift(&["install", &path, "--check"]).exits(0);
    machine.install_from(&path, &["--strict"]).exits(0).says("3 new or changed");
    let text = format!("user={user}\npassword='{sly}'\n# {user}\n");
    assert_eq!(machine.delivered("app.ini"), Some(text));
    assert_eq!(machine.access("app.ini"), (1234, 0, 0o440));
    let link = std::fs::read_link(machine.root.path("etc/app/app.ini")).expect("a link");
    assert_eq!(link.to_str(), Some("/run/sealift/app.ini"));
    let status = machine.status();
    assert_eq!(status["secrets"]["app.ini"]["outcome"], json!("installed"));
    assert!(!status.to_string().contains(&machine.sandbox.canary));
    // Installing the same again changes nothing; another value of a contained secret does.
    machine.install_from(&path, &["--strict"]).exits(0).says("3 unchanged");
    machine
        .sandbox
        .sealift_with(&["seal", "sly", "--replace", "--stdin"], machine.sandbox.value("new").as_bytes())
        .exits(0);
    machine.install_from(&path, &["--strict"]).exits(0).says("2 new or changed, 1 unchanged");
}

#[test]
fn a_template_fails_with_its_secret() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("b", &["--hosts", "web"]);
    let path = manifest(&machine, &[template("both", "<sealift:a><sealift:b>"), template("one", "<sealift:a>")]);
    machine.install_from(&path, &[]).exits(0);
    let both = machine.delivered("both");
    machine.damage("b");
    machine.install_from(&path, &["--strict"]).exits(1).says("both: the secret b, which is part of it, did not open");
    assert_eq!(machine.live(), Some(1));
    machine.install_from(&path, &[]).exits(4).says("2 unchanged, 2 kept from before");
    assert_eq!(machine.delivered("both"), both);
    // If there is nothing to keep, there is no file: never one with a gap.
    machine.sandbox.tool("umount", &[machine.root.path("run/sealift.d").to_str().expect("UTF-8")]);
    machine.install_from(&path, &[]).exits(4).says("2 new or changed, 2 missing");
    assert_eq!(machine.delivered("both"), None);
    assert_eq!(machine.delivered("one"), machine.delivered("a"));
}

#[test]
fn what_is_wrong_with_a_template_is_told_before_anything_happens() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("early", &["--hosts", "web"]);
    let refused = |templates: &[Value], why: &str| {
        let path = manifest(&machine, templates);
        machine.sandbox.sealift(&["install", &path, "--check"]).exits(2).says(why);
        machine.install_from(&path, &[]).exits(2).says(why);
    };
    refused(&[template("t", "<sealift:ghost>")], "t: content: there is no secret ghost that it could hold");
    refused(&[template("t", "<sealift:a")], "t: content: a placeholder names no secret");
    refused(&[template("t", "x"), template("t", "x")], "t: its name or path is given twice");
    refused(&[template("a", "x")], "a: its name or path is given twice");
    refused(&[template("a/b", "x")], "a: its name is a folder of another");
    refused(&[template("../b", "x")], "a template: name:");
    let mut open = template("t", "x");
    open["mode"] = json!("0644");
    // The error names the template, the value, and the option that sets it.
    refused(
        &[open.clone()],
        "the template t: mode: not a mode for a secret: four octal digits, nothing for others: 0644",
    );
    refused(&[open], "sealift.templates.\"t\" in Nix says this");
    // Secrets needed for users are for root alone: no template may contain them.
    let path = machine.manifest(|manifest| {
        manifest["version"] = json!(2);
        manifest["templates"] = json!([template("t", "<sealift:early>")]);
        entry(manifest, "early")["needed_for_users"] = json!(true);
        entry(manifest, "early")["path"] = json!("/run/sealift-users/early");
    });
    machine.install_from(&path, &[]).exits(2).says("t: content: there is no secret early");
    assert_eq!(machine.live(), None);
}

#[test]
fn a_template_cannot_grow_without_end() {
    let Some(machine) = Machine::new() else { return };
    let large = format!("{}{}", machine.sandbox.canary, "x".repeat(1 << 20));
    machine
        .sandbox
        .sealift_with(&["seal", "large", "--hosts", "web", "--max-size", "2097152", "--stdin"], large.as_bytes())
        .exits(0);
    let path = manifest(&machine, &[template("t", &"<sealift:large>".repeat(17))]);
    machine.install_from(&path, &["--strict"]).exits(1).says("t: it would be larger than 16 MiB");
    assert_eq!(machine.live(), None);
}

#[test]
fn templates_are_of_the_second_version() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    let with = |version: u32, templates: Value| {
        machine.manifest(|manifest| {
            manifest["version"] = json!(version);
            manifest["templates"] = templates;
        })
    };
    machine.install_from(&with(1, json!([template("t", "x")])), &[]).exits(2).says("which has no templates");
    machine.install_from(&with(3, json!([])), &[]).exits(2).says("this program reads versions 1 to 2");
    machine.install_from(&with(2, json!([])), &[]).exits(0);
    // A manifest without templates is written as before, so that an older program can read it.
    let plain = machine.sandbox.sealift(&["manifest", "web"]).exits(0).json();
    assert_eq!((&plain["version"], plain.get("templates")), (&json!(1), None));
}

#[test]
fn a_delivered_template_is_held_against_its_text_and_its_secrets() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    let sealed = machine.sandbox.fleet().join("secrets/a.age");
    let place = |content: &str| {
        let path = machine.manifest(|manifest| {
            manifest["version"] = json!(2);
            manifest["templates"] = json!([template("t", content)]);
            entry(manifest, "a")["file"] = json!("a.age");
        });
        let text = std::fs::read_to_string(path).expect("a manifest");
        machine.write("sys/manifest.json", &text);
        std::fs::copy(&sealed, machine.root.path("sys/a.age")).expect("a sealed file");
    };
    let wrong = || {
        let root = Root::open(&machine.root.path("")).expect("a root");
        let found = install::compare(&root, "/sys/manifest.json").expect("it is compared");
        found.into_iter().filter_map(|(name, wrong)| Some(format!("{name}: {}", wrong?))).collect::<Vec<_>>()
    };
    let install = || {
        let manifest = machine.root.path("sys/manifest.json");
        machine.install_from(manifest.to_str().expect("UTF-8"), &["--strict"]).exits(0)
    };
    place("x=<sealift:a>");
    install();
    assert_eq!(wrong(), Vec::<String>::new());
    place("y=<sealift:a>");
    assert_eq!(wrong(), ["t: it was made from another ciphertext, or another text"]);
    install();
    assert_eq!(wrong(), Vec::<String>::new());
    machine
        .sandbox
        .sealift_with(&["seal", "a", "--replace", "--stdin"], machine.sandbox.value("a2").as_bytes())
        .exits(0);
    place("y=<sealift:a>");
    assert_eq!(wrong().len(), 2, "the secret, and what is made from it");
    install();
    let delivered = machine.root.path("run/sealift/t");
    std::fs::write(&delivered, "somebody").expect("written");
    assert_eq!(wrong(), ["t: somebody has changed the delivered file"]);
}
