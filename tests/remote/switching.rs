//! A deploy delivers the system with its secrets, and can be inspected and rolled back.

use crate::harness::rig::Rig;

#[test]
fn nix_a_first_deploy_brings_all_that_is_needed() {
    let Some(rig) = Rig::try_up("remote: first deploy", &["web", "db"]) else { return };
    // Nothing of sealift is there: the message says so, with the next command.
    rig.sealift(&["status", "web"]).exits(0).says("nothing of sealift is there yet").says("sealift deploy web");
    let run = rig.sealift(&["deploy", "web", "db", "--yes"]).exits(0);
    run.says("+ token (version 1)")
        .says("web: waiting to be reached over a new connection")
        .prints("host")
        .prints("done");
    for host in ["web", "db"] {
        assert_eq!(rig.secret(host, "token"), Some(rig.sandbox.value("first")), "{host}");
        assert_eq!(rig.on(host, &["stat", "-c", "%a %U %G", "/run/sealift/token"]), "400 root root\n");
        assert_eq!(rig.calls(host), ["test 0", "boot 0"], "{host}");
        rig.is_tidy(host);
    }
    // It boots unattended, and delivers secrets by itself.
    rig.rig(&["reboot", "web"]);
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("first")));
}

#[test]
fn nix_a_change_is_shown_made_recorded_and_taken_back() {
    let Some(rig) = Rig::try_deployed("remote: a change", &["web", "db"]) else { return };
    let value = rig.change(&["web"]);
    let commit = String::from_utf8(rig.sandbox.tool("git", &["rev-parse", "HEAD"])).unwrap().trim().to_owned();
    let run = rig.sealift(&["deploy", "web", "--yes", "--json"]).exits(0);
    let text = run.text();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
    let result = run.result();
    assert_eq!(
        (&result["host"], &result["outcome"], &result["generation"]),
        (&"web".into(), &"done".into(), &3.into())
    );
    assert_eq!(result["plan"]["secrets"][0]["change"], "changed");
    assert!(text.contains("~ token (version 1 → version 2)") && text.contains("\"event\":\"step\""), "{text}");
    assert_eq!(rig.secret("web", "token"), Some(value.clone()));
    assert_eq!(rig.secret("db", "token"), Some(rig.sandbox.value("first")), "db is left alone");
    assert!(rig.calls("db").is_empty());

    let record = rig.last_record("web");
    assert_eq!((&record["outcome"], &record["commit"]), (&"done".into(), &commit.clone().into()));
    assert!(record["who"].as_str().unwrap().contains('@') && record["secrets"]["token"].is_string(), "{record}");

    // Deploying the same again copies nothing and makes no generation.
    let again = rig
        .sealift(&["deploy", "web", "--yes"])
        .exits(0)
        .says("runs already")
        .says("nothing changes")
        .says("1 secret is live already");
    assert!(!again.stderr.contains("copying"), "{}", again.stderr);
    assert_eq!(rig.on("web", &["readlink", "/nix/var/nix/profiles/system"]), "system-3-link\n");

    let rows = rig.sealift(&["status", "--json"]).exits(0).json();
    let (db, web) = (&rows["hosts"][0], &rows["hosts"][1]);
    assert_eq!((&web["commit"], &web["behind"], &web["generation"]), (&commit.into(), &0.into(), &3.into()));
    assert!(web["secrets"].as_object().unwrap().is_empty(), "{web}");
    assert_eq!((&db["behind"], &db["secrets"]["token"]), (&1.into(), &"another ciphertext".into()));
    rig.sealift(&["status"])
        .exits(0)
        .prints("up to date")
        .prints("1 out of date")
        .says("db: token: another ciphertext");

    let list = rig.sealift(&["generations", "web", "--json"]).exits(0).json();
    assert_eq!(list["generations"].as_array().unwrap().len(), 3);
    assert_eq!(list["generations"][1]["revives"][0], "token");
    rig.forget_calls("web");
    rig.sealift(&["rollback", "web"])
        .exits(0)
        .says("! token (version 2 → version 1: an older version comes back)")
        .says("· closure ");
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("first")));
    assert_eq!(rig.calls("web"), ["test 0", "boot 0"]);
    rig.sealift(&["rollback", "web", "--to", "3"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(value));
    rig.sealift(&["rollback", "web", "--to", "7"]).exits(1).says("web has no generation 7").says("there are: 1, 2, 3");
    rig.is_tidy("web");
}

#[test]
fn nix_each_action_goes_as_far_as_it_says_on_another_machine() {
    let Some(rig) = Rig::try_deployed("remote: actions", &["web"]) else { return };
    let before = rig.state("web");
    let value = rig.change(&["web"]);
    let built = rig.sealift(&["deploy", "web", "--action", "build"]).exits(0);
    assert!(built.text().starts_with("/nix/store/"), "{}", built.text());
    let system = built.text().trim().to_owned();
    rig.on("web", &["sh", "-c", &format!("! test -e {system}")]);
    rig.sealift(&["deploy", "web", "--action", "dry-activate"]).exits(0).says("would activate the configuration");
    assert_eq!((rig.calls("web"), rig.state("web")), (vec!["dry-activate 0".to_owned()], before.clone()));
    rig.forget_calls("web");
    // A question on a pipe is declined.
    rig.sealift(&["deploy", "web"]).exits(1).says("declined; nothing was changed");
    assert_eq!((rig.calls("web"), rig.state("web")), (Vec::new(), before));

    rig.sealift(&["deploy", "web", "--action", "boot", "--yes"]).exits(0).says("takes effect at the next boot");
    assert_eq!(rig.calls("web"), ["boot 0"]);
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("first")), "nothing is installed");
    rig.forget_calls("web");
    rig.sealift(&["deploy", "web", "--action", "test", "--yes"]).exits(0);
    assert_eq!(rig.calls("web"), ["test 0"]);
    assert_eq!(rig.secret("web", "token"), Some(value));
    rig.is_tidy("web");
}

#[test]
fn nix_a_host_that_was_never_deployed_is_called_that() {
    let Some(rig) = Rig::try_up("remote: never deployed", &["web"]) else { return };
    let run = rig.sealift(&["status"]).exits(0).prints("web   never deployed");
    assert!(run.stderr.starts_with("web is up, and nothing of sealift is there yet"), "{}", run.stderr);
    assert!(!run.text().contains("up to date"), "nobody knows that: {}", run.text());
    assert_eq!(rig.sealift(&["status", "--json"]).exits(0).json()["hosts"][0]["never_deployed"], true);
}

#[test]
fn nix_where_there_is_nothing_to_do_nobody_is_asked() {
    let Some(rig) = Rig::try_deployed("remote: nothing to do", &["web", "db"]) else { return };
    rig.forget_calls("web");
    let before = rig.state("web");
    let run = rig.sealift(&["deploy", "web", "--json"]).exits(0);
    assert!(run.result()["outcome"] == "nothing" && run.result()["generation"].is_u64(), "{}", run.text());
    rig.sealift(&["deploy", "web"]).exits(0).says("web: up to date, nothing to do");
    assert_eq!((rig.calls("web"), rig.state("web")), (Vec::new(), before));
    // With `--yes` it is activated again, as scripts may expect.
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(rig.calls("web"), ["test 0", "boot 0"]);
    // Of two hosts, only the one that changes needs confirmation.
    rig.system("db", "{ etc.motd = \"second\"; }");
    rig.commit();
    let run = rig.sealift(&["deploy", "--all", "--json"]).exits(4);
    let outcome =
        |host: &str| run.results().iter().find(|one| one["host"] == host).map(|one| one["outcome"].to_string());
    assert_eq!(outcome("db").as_deref(), Some("\"declined\""));
    // Another system would boot next: that is a change.
    rig.sealift(&["deploy", "db", "--yes"]).exits(0);
    rig.system("web", "{ etc.motd = \"third\"; }");
    rig.commit();
    rig.sealift(&["deploy", "web", "--action", "test", "--yes"]).exits(0);
    rig.sealift(&["deploy", "web"]).exits(1).says("declined");
    // So is an interrupted run.
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    rig.sealift(&["deploy", "web"]).exits(0);
    std::fs::write(rig.disk("web", "/var/lib/sealift/deploy/journal.json"), "{").expect("written");
    rig.sealift(&["deploy", "web"]).exits(9).says("its journal cannot be read");
}

#[test]
fn nix_what_cannot_be_activated_live_is_pending_until_the_reboot() {
    let Some(rig) = Rig::try_deployed("remote: pending reboot", &["web"]) else { return };
    rig.system("web", r#"{ interface = "systemd 3"; kernel = "6.13"; }"#);
    rig.commit();
    let run = rig.sealift(&["deploy", "web", "--yes", "--json"]).exits(0).says("cannot be activated live");
    assert_eq!(run.result()["outcome"], "pending-reboot");
    assert_eq!(rig.calls("web"), ["boot 0"]);
    let row = |rig: &Rig| rig.sealift(&["status", "web", "--json"]).exits(0).json()["hosts"][0].clone();
    assert!(!row(&rig)["reboot"].as_array().unwrap().is_empty(), "{}", row(&rig));
    rig.sealift(&["status", "web"]).exits(0).prints("pending");
    rig.rig(&["reboot", "web"]);
    assert_eq!(row(&rig)["reboot"], serde_json::json!([]));
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("first")));
}

#[test]
fn nix_verify_finds_a_check_and_a_secret_that_are_not_as_they_should_be() {
    let Some(rig) = Rig::try_deployed("remote: verify", &["web"]) else { return };
    rig.declare(
        "\n[checks.name]\non = [\"*\"]\nhost_name = true\n\n[checks.there]\non = [\"web\"]\nexists = \"/etc/there\"\n",
    );
    std::fs::write(rig.disk("web", "/etc/there"), "").unwrap();
    rig.sealift(&["verify", "web"]).exits(0).says("2 checks and 1 secret are as they should be");
    rig.on(
        "web",
        &[
            "sh",
            "-c",
            "chmod 600 /run/sealift/token && echo more >> /run/sealift/token && chmod 400 /run/sealift/token",
        ],
    );
    std::fs::remove_file(rig.disk("web", "/etc/there")).unwrap();
    let run = rig.sealift(&["verify", "web"]).exits(3);
    run.prints("web: check there: /etc/there does not exist").prints("somebody has changed the delivered file");
}
