//! rollback and generations.

use crate::harness::machine::{Machine, cannot_deploy};

/// Three generations, with a different value of `token` in each.
fn three() -> Machine {
    let machine = Machine::running("{ }");
    for (value, motd) in [("second", "2"), ("third", "3")] {
        machine.seal("token", value);
        machine.system(&format!("{{ etc.motd = \"{motd}\"; }}"));
        machine.deploy(&[]).exits(0);
    }
    machine.forget_calls();
    machine
}

#[test]
fn nix_a_former_system_comes_back_with_its_secrets() {
    if cannot_deploy("rollback") {
        return;
    }
    let machine = three();
    let run = machine
        .on("rollback", &["--json"])
        .exits(0)
        .says("back to generation 2")
        .says("· closure ")
        .says("! token (version 3 → version 2: an older version comes back)");
    assert_eq!((&run.result()["outcome"], &run.result()["generation"]), (&"done".into(), &2.into()));
    assert_eq!(machine.calls(), ["test 0", "boot 0"]);
    let commit =
        |machine: &Machine| machine.on("status", &["web", "--json"]).exits(0).json()["hosts"][0]["commit"].clone();
    assert!(commit(&machine).is_string(), "which deploy brought this system is in the record");
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("second")));
    let state = machine.state();
    assert_eq!((state[1].as_str(), state[3].trim()), ("system-2-link", state[0].as_str()));
    assert!(state[2].contains("system-3-link"), "what was rolled back from stays");
    // It asks nothing anyway.
    machine.on("rollback", &["--to", "3", "--yes"]).exits(0);
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("third")));
    machine.on("rollback", &["--to", "1"]).exits(0);
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("first")));
    machine.on("rollback", &[]).exits(1).says("no generation before the current one").says("there are: 1, 2, 3");
    machine.on("rollback", &["--to", "9"]).exits(1).says("machine has no generation 9").says("there are: 1, 2, 3");
    machine.is_tidy();
    machine.stores_hold_no_value();
}

#[test]
fn nix_a_rollback_that_fails_stays_where_it_was() {
    if cannot_deploy("rollback that fails") {
        return;
    }
    let machine = three();
    let before = machine.state();
    machine.fail("test 4");
    machine.on("rollback", &[]).exits(6).says("units failed");
    assert_eq!(machine.state(), before);
    let status = machine.on("status", &["web", "--json"]).exits(0).json();
    assert!(status["hosts"][0]["commit"].is_string(), "{status}");
    machine.fail("boot 1");
    machine.on("rollback", &["--to", "1"]).exits(6);
    assert_eq!(machine.state(), before);
    machine.is_tidy();
}

#[test]
fn nix_rollback_needs_no_fleet() {
    if cannot_deploy("rollback without a fleet") {
        return;
    }
    let machine = three();
    machine.sandbox.write("recipients.toml", "broken");
    machine.on("rollback", &[]).exits(0).says("no checks are run");
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("second")));
}

#[test]
fn nix_a_system_without_the_unit_gets_its_secrets_back_too() {
    if cannot_deploy("rollback to a system without the unit") {
        return;
    }
    let machine = Machine::running(r#"{ variant = "plain"; }"#);
    machine.deploy(&[]).exits(0);
    machine.seal("token", "second");
    machine.system(r#"{ variant = "plain"; etc.motd = "2"; }"#);
    machine.deploy(&[]).exits(0);
    machine.on("rollback", &["--json"]).exits(0).says("last until the next reboot");
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("first")));
    machine.is_tidy();
}

#[test]
fn nix_generations_tell_what_each_would_do() {
    if cannot_deploy("generations") {
        return;
    }
    let machine = three();
    let report = machine.on("generations", &["--json"]).exits(0).json();
    let all = report["generations"].as_array().unwrap();
    let numbers: Vec<_> = all.iter().map(|generation| generation["generation"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 2, 1]);
    let third = &all[0];
    assert_eq!(
        (&third["current"], &third["running"], &third["booted"], &third["unit"]),
        (&true.into(), &true.into(), &false.into(), &true.into())
    );
    assert_eq!((&third["nixos_version"], &third["kernel"]), (&"25.11".into(), &"6.12".into()));
    assert_eq!(third["secrets"], serde_json::json!([{"name": "token", "serial": 3}]));
    assert_eq!((third["revives"].as_array().unwrap().len(), &all[2]["revives"]), (0, &serde_json::json!(["token"])));
    assert_eq!((&all[2]["booted"], &all[2]["current"]), (&true.into(), &false.into()));
    let date = third["date"].as_str().unwrap();
    assert!(date.starts_with("20") && date.ends_with('Z') && !date.starts_with("1970"), "the link's own date: {date}");
    assert!(all.iter().all(|generation| generation["cannot_open"].as_array().unwrap().is_empty()));
    machine
        .on("generations", &[])
        .exits(0)
        .prints("generation  made ")
        .prints("brings back older values of token")
        .prints("current; running");
    // With another host key, secrets sealed to the previous one no longer open.
    std::fs::copy(machine.sandbox.path("keys/db.pub"), machine.root.join("etc/ssh/ssh_host_ed25519_key.pub")).unwrap();
    let report = machine.on("generations", &["--json"]).exits(0).json();
    assert_eq!(report["generations"][0]["cannot_open"], serde_json::json!(["token"]));
}

#[test]
fn nix_a_value_that_was_rotated_away_does_not_come_back_in_silence() {
    if cannot_deploy("rollback: values that were rotated away") {
        return;
    }
    let machine = Machine::new("{ }");
    machine.sandbox.sealift_with(&["seal", "token", "--hosts", "*", "--stdin"], b"canary-one").exits(0);
    machine.deploy(&[]).exits(0);
    machine.boot();
    let key = machine.sandbox.key("jay");
    machine.sandbox.sealift(&["host", "rm", "db", "--yes", "-i", &key]).exits(0);
    machine.seal("token", "second");
    // A deploy that is rolled back restores it.
    machine.fail("test 4");
    let run = machine.deploy(&[]).exits(6);
    run.says("token is at version 1 again, not at 2; known to db, removed since");
    machine.deploy(&[]).exits(0);
    // And so does a rollback, which says so beforehand.
    let run = machine.on("rollback", &[]).exits(0);
    run.says("! token (version 2 → version 1: an older version comes back; known to db, removed since)");
}

#[test]
fn nix_a_rollback_can_leave_the_newest_values_where_they_fit() {
    if cannot_deploy("rollback: --keep-values") {
        return;
    }
    let machine = three();
    // `token` has its third value; `other` has another shape than in the previous generation.
    let other = machine.sandbox.value("other");
    machine.sandbox.sealift_with(&["seal", "other", "--hosts", "web", "--stdin"], other.as_bytes()).exits(0);
    machine.deploy(&[]).exits(0);
    let policy = machine.sandbox.read("recipients.toml");
    machine.sandbox.write("recipients.toml", policy.replace("[secrets.other]", "[secrets.other]\nshape = \"token\""));
    machine.sandbox.sealift_with(&["seal", "other", "--replace", "--stdin"], format!("{other}-2").as_bytes()).exits(0);
    machine.deploy(&[]).exits(0);
    let run = machine.on("rollback", &["--to", "2", "--keep-values"]).exits(0);
    run.says("token stays at version 3; this system has version 2").says("last until the next reboot");
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("third")));
    let run = machine.on("rollback", &["--to", "4", "--keep-values"]).exits(0);
    assert!(!run.stderr.contains("other stays"), "{}", run.stderr);
    assert_eq!(machine.secret("other"), Some(other));
    // Each boot delivers what its system carries.
    machine.on("rollback", &["--to", "2", "--keep-values"]).exits(0);
    machine.boot();
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("second")));
}

#[test]
fn nix_a_check_that_stands_in_the_way_can_be_left_out() {
    if cannot_deploy("rollback: --no-checks") {
        return;
    }
    let machine = three();
    let policy = machine.sandbox.read("recipients.toml");
    machine.system(r#"{ etc.motd = "4"; etc.marker = "x"; }"#);
    machine.sandbox.write("recipients.toml", policy + "\n[checks.marker]\nexists = \"/etc/marker\"\n");
    machine.deploy(&[]).exits(0);
    let before = machine.state();
    machine
        .on("rollback", &[])
        .exits(6)
        .says("check marker")
        .says("`--no-checks` goes back without running the checks");
    assert_eq!(machine.state(), before);
    machine.on("rollback", &["--no-checks"]).exits(0);
    assert_ne!(machine.state(), before);
}

#[test]
fn nix_what_was_only_tried_is_left_for_what_boots() {
    if cannot_deploy("rollback of what was tried") {
        return;
    }
    let machine = three();
    let before = machine.state();
    machine.seal("token", "fourth");
    machine.deploy(&["--action", "test"]).exits(0);
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("fourth")));
    machine.on("rollback", &[]).exits(0).says("back to generation 3");
    assert_eq!(machine.state(), before);
}
