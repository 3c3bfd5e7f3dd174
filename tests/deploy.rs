//! deploy on one machine: real nix, real profile generations, a temporary root.

use crate::harness::Sandbox;
use crate::harness::machine::{Machine, cannot_deploy};

#[test]
fn nix_a_first_deploy_delivers_and_boots() {
    if cannot_deploy("deploy: first deploy") {
        return;
    }
    let machine = Machine::new("{ }");
    let value = machine.seal("token", "first");
    let run = machine
        .deploy(&[])
        .exits(0)
        .says("+ token (version 1)")
        .says("no system is running there")
        .says("takes effect at the next boot");
    assert!(run.stdout.is_empty(), "{}", run.text());
    assert_eq!(machine.secret("token").as_deref(), Some(value.as_str()));
    assert_eq!(machine.calls(), ["boot 0"]);
    machine.boot();
    assert_eq!(
        machine.secret("token").as_deref(),
        Some(value.as_str()),
        "its own unit delivers at boot: {}",
        machine.unit_log()
    );
    machine.is_tidy();
    machine.stores_hold_no_value();
}

#[test]
fn nix_a_deploy_shows_what_changes_and_makes_it_so() {
    if cannot_deploy("deploy: what changes") {
        return;
    }
    let machine = Machine::running("{ }");
    let value = machine.seal("token", "second");
    machine.seal("other", "other");
    machine.system(r#"{ kernel = "6.13"; etc.motd = "hello"; }"#);
    let run = machine.deploy(&["--json"]).exits(0);
    for text in [
        "linux 6.12 → 6.13",
        "· closure ",
        "packages added: motd",
        "~ token (version 1 → version 2)",
        "+ other (version 1)",
        "units restarted: sealift-install.service",
        "waits for a reboot: initrd, kernel 6.12 → 6.13",
        "reboot for",
    ] {
        assert!(run.stderr.contains(text), "`{text}` is not in: {}", run.stderr);
    }
    assert!(!run.stderr.contains("u{1b}"), "nix's colours are taken off: {}", run.stderr);
    let report = run.result();
    assert_eq!(report["event"], "result");
    assert_eq!(
        (&report["outcome"], &report["generation"], &report["until_reboot"]),
        (&"done".into(), &2.into(), &false.into())
    );
    assert_eq!(report["plan"]["secrets"][1]["change"], "changed");
    assert_eq!(report["running"], report["system"]);
    assert_eq!(machine.secret("token").as_deref(), Some(value.as_str()));
    assert_eq!(machine.calls(), ["test 0", "boot 0"]);
    assert_eq!(
        machine.log().matches("unit start sealift-install.service").count(),
        1,
        "installed once, inside the switch"
    );
    assert_eq!(machine.link("nix/var/nix/profiles/system"), "system-2-link");
    assert_eq!(machine.link("run/current-system"), report["system"].as_str().unwrap());
    let log = machine.root.join(report["log"].as_str().unwrap().trim_start_matches('/'));
    assert!(std::fs::read_to_string(log).unwrap().contains("activating the configuration"));
    let record = std::fs::read_to_string(machine.root.join("var/lib/sealift/deploys.jsonl")).unwrap();
    assert!(record.lines().count() == 2 && record.lines().all(|line| line.starts_with('{')), "{record}");
    machine.is_tidy();
    machine.stores_hold_no_value();
}

#[test]
fn nix_a_system_without_the_unit_is_delivered_to_until_the_reboot() {
    if cannot_deploy("deploy: a system without the unit") {
        return;
    }
    let machine = Machine::running(r#"{ variant = "plain"; }"#);
    assert_eq!(machine.secret("token"), None, "a plain system forgets at boot");
    let value = machine.seal("token", "second");
    let run = machine
        .deploy(&["--json"])
        .exits(0)
        .says("they last until the next reboot")
        .says("its secrets last until the next reboot, then deploy again");
    assert_eq!(run.result()["until_reboot"], true);
    assert_eq!(machine.secret("token").as_deref(), Some(value.as_str()));
    // The closure is unchanged, so only the secrets change.
    let newer = machine.seal("token", "third");
    machine.deploy(&[]).exits(0).says("~ token (version 2 → version 3)").says("runs already");
    assert_eq!(machine.secret("token").as_deref(), Some(newer.as_str()));
    assert_eq!(machine.link("nix/var/nix/profiles/system"), "system-1-link");
    machine.is_tidy();
    machine.stores_hold_no_value();
}

#[test]
fn nix_declined_is_nothing_changed() {
    if cannot_deploy("deploy: declined") {
        return;
    }
    let machine = Machine::running("{ }");
    machine.seal("token", "second");
    let before = machine.state();
    let root = machine.root.to_str().unwrap().to_owned();
    machine
        .sealift(&["deploy", "--root", &root, "--host", "web"])
        .exits(1)
        .says("~ token (version 1 → version 2)")
        .says("declined; nothing was changed");
    assert_eq!(machine.state(), before);
    assert!(machine.calls().is_empty());
    machine.is_tidy();
}

#[test]
fn nix_an_unchanged_system_makes_no_generation() {
    if cannot_deploy("deploy: unchanged") {
        return;
    }
    let machine = Machine::running("{ }");
    let before = machine.state();
    machine.deploy(&[]).exits(0).says("runs already · nothing changes");
    assert_eq!(machine.state(), before);
    assert_eq!(machine.calls(), ["test 0", "boot 0"]);
}

#[test]
fn nix_each_action_goes_as_far_as_it_says() {
    if cannot_deploy("deploy: actions") {
        return;
    }
    for variant in ["unit", "plain"] {
        let machine = Machine::running(&format!("{{ variant = \"{variant}\"; }}"));
        if variant == "plain" {
            machine.deploy(&[]).exits(0);
            machine.forget_calls();
        }
        let [system, profile, links, default, token] = <[String; 5]>::try_from(machine.state()).unwrap();
        let second = machine.seal("token", "second");
        machine.system(&format!("{{ variant = \"{variant}\"; etc.motd = \"2\"; }}"));
        let build = machine.deploy(&["--action", "build"]).exits(0).says("built; nothing was changed");
        let built = build.text().trim().to_owned();
        assert!(built.starts_with("/nix/store/") && machine.calls().is_empty(), "{built}");
        assert!(!machine.root.join(built.trim_start_matches('/')).exists(), "build copies nothing");

        // Only the plan: not even a dry activation.
        for dry in ["--dry-run", "--dry"] {
            machine.deploy(&[dry]).exits(0).says("token").says("nothing was changed");
        }
        let plan = machine.deploy(&["--dry-run", "--json"]).exits(0).json();
        assert!(plan["hosts"]["web"]["plan"].is_object(), "{plan}");
        machine.deploy(&["--dry-run", "--resume"]).exits(2);
        assert!(machine.calls().is_empty());
        assert_eq!(machine.state(), [&system, &profile, &links, &default, &token].map(String::clone));

        machine.deploy(&["--action", "dry-activate"]).exits(0).says("would activate the configuration");
        assert_eq!(machine.calls(), ["dry-activate 0"]);
        assert_eq!(machine.state(), [&system, &profile, &links, &default, &token].map(String::clone));

        machine.forget_calls();
        machine.deploy(&["--action", "boot"]).exits(0).says("takes effect at the next boot");
        assert_eq!(machine.calls(), ["boot 0"]);
        let state = machine.state();
        assert_eq!((&state[0], &state[4]), (&system, &token), "nothing is installed, {variant}");
        assert_eq!((state[1].as_str(), state[3].trim()), ("system-2-link", built.as_str()));

        machine.forget_calls();
        machine.system(&format!("{{ variant = \"{variant}\"; etc.motd = \"3\"; }}"));
        machine.deploy(&["--action", "test"]).exits(0);
        assert_eq!(machine.calls(), ["test 0"]);
        let state = machine.state();
        assert_eq!(
            (state[1].as_str(), state[3].trim(), &state[4]),
            ("system-2-link", built.as_str(), &second),
            "{variant}"
        );
        assert_ne!(state[0], built);
        machine.is_tidy();
    }
}

#[test]
fn nix_what_cannot_be_activated_live_waits_for_the_reboot() {
    if cannot_deploy("deploy: pending reboot") {
        return;
    }
    for system in [r#"{ interface = "systemd 3"; }"#, r#"{ inhibitors.dbus-implementation = "broker"; }"#] {
        let machine = Machine::running("{ }");
        machine.system(system);
        let before = machine.state();
        machine
            .deploy(&["--action", "test"])
            .exits(1)
            .says("cannot be activated without a reboot")
            .says("--action boot");
        assert!(machine.calls().is_empty() && machine.state() == before);
        let run =
            machine.deploy(&["--json"]).exits(0).says("cannot be activated live").says("takes effect at the next boot");
        assert_eq!(run.result()["outcome"], "pending-reboot");
        assert_eq!(machine.calls(), ["boot 0"]);
        assert_eq!(machine.link("run/current-system"), before[0]);
        machine.boot();
        assert_ne!(machine.link("run/current-system"), before[0]);
        assert_eq!(machine.secret("token"), Some(machine.sandbox.value("first")));
    }
}

#[test]
fn nix_every_problem_is_told_at_once_and_nothing_is_built() {
    if cannot_deploy("deploy: preflight") {
        return;
    }
    let machine = Machine::running("{ }");
    let before = machine.state();
    machine.sandbox.write("hosts/web/more.nix", "{ }");
    std::fs::write(machine.sandbox.fleet().join("secrets/foreign.age"), "x").unwrap();
    let root = machine.root.to_str().unwrap().to_owned();
    let run = machine.sealift(&["deploy", "--root", &root, "--host", "db", "--yes"]).exits(1);
    for text in [
        "hosts/web/more.nix: git does not track it",
        "git add -- hosts/web/more.nix",
        "secrets/foreign.age: git does not track it",
        "secrets/foreign.age: no secret in the policy",
        "this is not db: the host key in",
        "is that of web",
        "preconditions are not met",
    ] {
        assert!(run.stderr.contains(text), "`{text}` is not in: {}", run.stderr);
    }
    assert!(!run.stderr.contains("building"), "{}", run.stderr);
    assert!(machine.calls().is_empty() && machine.state() == before);
}

#[test]
fn nix_each_problem_has_its_exit_code() {
    if cannot_deploy("deploy: exit codes") {
        return;
    }
    let machine = Machine::running("{ }");
    let root = machine.root.to_str().unwrap().to_owned();
    machine
        .sealift(&["deploy", "--root", &root, "--host", "db", "--yes"])
        .exits(7)
        .says(&format!("`sealift host rekey db --key-file {root}/etc/ssh/ssh_host_ed25519_key.pub`"));
    machine.sealift(&["deploy", "--root", &root, "--host", "wed", "--yes"]).exits(2).says("did you mean web?");
    machine.sealift(&["deploy", "--root", &root, "--yes", "--action", "build"]).exits(0).says("web: built");
    let path = format!("path:{}", machine.sandbox.fleet().display());
    machine.deploy(&["--flake", &path]).exits(2).says("a `path:` flake copies everything into the store");
    machine
        .deploy(&["--flake", "github:owner/name"])
        .exits(2)
        .says("--flake github:owner/name: what is deployed is the fleet's own git work tree");
    machine.deploy(&["--root", "/nonexistent", "--action", "build"]).exits(2);
    std::fs::remove_file(machine.sandbox.fleet().join("secrets/token.age")).unwrap();
    machine.deploy(&[]).exits(3).says("the policy asks for it and it is not there").says("sealift seal token");
    std::fs::remove_dir_all(machine.sandbox.fleet().join(".git")).unwrap();
    machine.deploy(&[]).says("is not in a git repository").says("git is what keeps old versions, and what Nix reads");
    assert!(machine.calls().is_empty());
}

#[test]
fn nix_a_system_that_cannot_be_built_changes_nothing() {
    if cannot_deploy("deploy: build failures") {
        return;
    }
    let machine = Machine::running("{ }");
    let before = machine.state();
    for (system, says) in [
        ("{ etc = throw \"no such option\"; }", "no such option"),
        ("{ syntax", "syntax error"),
        (r#"{ etc."a b/\"; false" = "x"; }"#, "could not be built"),
    ] {
        machine.system(system);
        machine.deploy(&[]).exits(1).says("the system of web could not be built; nothing was changed").says(says);
    }
    assert!(machine.calls().is_empty() && machine.state() == before);
    machine.is_tidy();
}

#[test]
fn nix_a_host_that_cannot_open_its_secrets_is_never_switched() {
    if cannot_deploy("deploy: secrets that do not open") {
        return;
    }
    for variant in ["unit", "plain"] {
        let machine = Machine::running(&format!("{{ variant = \"{variant}\"; }}"));
        machine.seal("token", "second");
        let before = machine.state();
        // The machine has the right public key, but another private key.
        std::fs::copy(machine.sandbox.path("keys/db"), machine.root.join("etc/ssh/ssh_host_ed25519_key")).unwrap();
        for action in ["switch", "test", "boot"] {
            machine.deploy(&["--action", action]).exits(5).says("token");
            assert!(machine.calls().is_empty(), "{action}: {:?}", machine.calls());
            assert_eq!(machine.state(), before);
        }
        machine.is_tidy();
    }
}

#[test]
fn nix_a_system_with_another_hosts_secrets_is_not_deployed() {
    if cannot_deploy("deploy: another host's secrets") {
        return;
    }
    let machine = Machine::running("{ }");
    let before = machine.state();
    let flake =
        machine.sandbox.read("flake.nix").replace("toplevel = system name host;", "toplevel = system \"db\" host;");
    machine.sandbox.write("flake.nix", flake);
    machine.deploy(&[]).exits(1).says("the system that was built for web carries the secrets of db");
    assert!(machine.calls().is_empty() && machine.state() == before);
}

#[test]
fn nix_a_template_is_planned_delivered_and_verified_like_a_secret() {
    if cannot_deploy("nix_a_template_is_planned_delivered_and_verified_like_a_secret") {
        return;
    }
    let system = |content: &str| {
        format!(
            r#"{{ templates = [ {{ name = "app.ini"; content = "{content}"; owner = "bin"; group = "root"; mode = "0440";
               path = "/run/sealift/app.ini"; restart = [ "app.service" ]; reload = [ ]; }} ]; }}"#
        )
    };
    let machine = Machine::new(&system("a=<sealift:token>"));
    let value = machine.seal("token", "first");
    machine.deploy(&[]).exits(0).says("app.ini");
    assert_eq!(machine.secret("app.ini"), Some(format!("a={value}")));
    machine.boot();
    assert_eq!(machine.secret("app.ini"), Some(format!("a={value}")), "a boot delivers with the same command");
    machine.system(&system("b=<sealift:token>"));
    machine.deploy(&[]).exits(0).says("app.ini").says("app.service");
    assert_eq!(machine.secret("app.ini"), Some(format!("b={value}")));
    // Template and value are restored together.
    machine.on("rollback", &["--to", "1"]).exits(0);
    assert_eq!(machine.secret("app.ini"), Some(format!("a={value}")));
    machine.stores_hold_no_value();
}

#[test]
fn nix_a_specialisation_that_runs_is_kept() {
    if cannot_deploy("deploy: a specialisation") {
        return;
    }
    let system = |number: u8| {
        format!("{{ etc.motd = \"{number}\"; specialisations.gaming = {{ etc.motd = \"gaming {number}\"; }}; }}")
    };
    let machine = Machine::running(&system(1));
    let special = |of: &str| {
        let link = machine.root.join(format!("{}/specialisation/gaming", of.trim_start_matches('/')));
        std::fs::read_link(link).map_or_else(|_| String::new(), |system| system.display().to_string())
    };
    let profile = || {
        let generation = machine.link("nix/var/nix/profiles/system");
        machine.link(&format!("nix/var/nix/profiles/{generation}"))
    };
    let play = || {
        let mut command = machine.command("chroot");
        command.arg(&machine.root).arg(format!("{}/bin/switch-to-configuration", special(&profile()))).arg("test");
        let run = machine.sandbox.run(command, b"");
        assert_eq!((run.code, machine.link("run/current-system")), (0, special(&profile())), "{}", run.stderr);
        machine.forget_calls();
    };
    let is = |base: &str, runs: &str| {
        let boots = std::fs::read_to_string(machine.root.join("boot/default")).expect("a boot loader");
        assert_eq!((profile().as_str(), boots.trim()), (base, base));
        assert_eq!(machine.link("run/current-system"), runs);
    };
    play();
    let before = machine.state();
    let status = machine.on("status", &["web", "--json"]).exits(0).json();
    assert_eq!(
        (&status["hosts"][0]["specialisation"], &status["hosts"][0]["reboot"]),
        (&"gaming".into(), &serde_json::json!([]))
    );
    assert!(status["hosts"][0]["commit"].is_string(), "{status}");
    machine.on("status", &["web"]).exits(0).says("the specialisation gaming runs");
    machine.on("generations", &[]).exits(0).prints("its specialisation gaming runs");
    // A failure rolls back to it.
    machine.seal("token", "second");
    machine.system(&system(2));
    machine.fail("test 4");
    machine.deploy(&[]).exits(6).says("the specialisation gaming runs, and is kept");
    assert_eq!(machine.state(), before);
    machine.fail("");
    machine.forget_calls();
    let second = machine.deploy(&["--json"]).exits(0).result();
    let base = second["system"].as_str().expect("a system").to_owned();
    assert_eq!(machine.calls(), ["test 0", "boot 0"]);
    is(&base, &special(&base));
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("second")));
    machine.deploy(&[]).exits(0).says("runs already");
    // A rollback goes to the previous generation, not from the tested system to the current generation.
    machine.on("rollback", &["--settle", "1"]).exits(0).says("back to generation 1").says("gaming runs, and is kept");
    is(&profile(), &special(&profile()));
    assert_ne!(profile(), base);
    machine.deploy(&["--base"]).exits(0).says("is left: the system itself was asked for");
    is(&base, &base);
    play();
    machine.system("{ etc.motd = \"3\"; }");
    machine.deploy(&[]).exits(0).says("is left: the new system has none of this name");
    is(&profile(), &profile());
    machine.is_tidy();
}

#[test]
fn one_address_is_not_where_several_hosts_are() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    let run = sandbox.sealift(&["deploy", "--all", "--ack-address", "root@192.0.2.1"]).exits(2);
    run.says("2 hosts would be looked for at root@192.0.2.1").says("`sealift deploy db --ack-address root@192.0.2.1`");
}

#[test]
fn files_with_the_same_fault_stop_a_deploy_in_one_line() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    for name in ["a", "b"] {
        sandbox.seal(name, &["--hosts", "web"]);
        std::fs::remove_file(sandbox.fleet().join(format!("secrets/{name}.age"))).expect("removed");
    }
    let run = sandbox.sealift(&["deploy", "web", "--action", "build"]);
    run.says("the policy asks for these and they are not there: a, b (2 files)");
}
