//! Homes that are not part of a system: switched after it, as their user, and rolled back with it. The activation
//! packages are stand-ins that record their calls; nix, its profiles and its daemon are real.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::rig::{Rig, cannot_rig};

/// A fleet whose flake has a home of jay on `web`, with a check that this home passes.
fn with_home() -> Rig {
    let rig = Rig::deployed(&["web"]);
    let flake = rig.sandbox.read("flake.nix");
    let (before, after) = flake.split_once("      nixosConfigurations =").expect("the flake");
    rig.sandbox.write(
        "flake.nix",
        format!("{before}      homeConfigurations = import ./home.nix {{ inherit programs; homes = ./homes; }};\n      nixosConfigurations ={after}"),
    );
    rig.declare("\n[checks.wanted]\non = [\"web\"]\nexists = \"/home/jay/wanted\"\n");
    is(&rig, "greeting = \"one\";");
    rig
}

/// Sets the home.
fn is(rig: &Rig, home: &str) {
    rig.sandbox.write("homes/jay@web.nix", format!("{{ {home} }}\n"));
    rig.commit();
}

/// The active home's greeting, and the number of activations.
fn greeting(rig: &Rig) -> (String, usize) {
    let greeting = rig.on("web", &["sh", "-c", "cat /home/jay/greeting 2> /dev/null || true"]);
    let calls = rig.on("web", &["sh", "-c", "cat /home/jay/calls 2> /dev/null || true"]);
    (greeting.trim().to_owned(), calls.lines().count())
}

/// The home in the output of `generations`.
fn home(rig: &Rig) -> Value {
    rig.sealift(&["generations", "web", "--json"]).exits(0).json()["homes"][0].clone()
}

#[test]
fn nix_a_home_is_switched_after_its_system_as_its_user() {
    if cannot_rig("remote: a standalone home") {
        return;
    }
    let rig = with_home();
    rig.change(&["web"]);
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    run.says("home of jay: /nix/store/").says("switching the home of jay");
    assert_eq!(greeting(&rig), ("one".to_owned(), 1));
    let call = rig.on("web", &["cat", "/home/jay/calls"]);
    let words = "uid=1000 gid=1000 home=/home/jay user=jay umask=0022 words=--driver-version 1";
    assert!(call.trim().ends_with(words), "{call}");
    // Its environment contains nothing of the deployer.
    let environment = rig.on("web", &["cat", "/home/jay/environment"]);
    assert!(!environment.contains("SUDO_") && !environment.contains("SSH_"), "{environment}");
    assert_eq!(rig.on("web", &["stat", "-c", "%U", "/home/jay/greeting"]), "jay\n");
    let one = home(&rig);
    assert_eq!((&one["user"], &one["generation"]), (&json!("jay"), &json!(1)));
    let package = one["active"].as_str().expect("a path").to_owned();
    assert_eq!(rig.last_record("web")["homes"]["jay"], json!(package));
    rig.sealift(&["generations", "web"]).exits(0).prints("home of jay:").prints(&package).prints("current; active");
    rig.sealift(&["status", "web"]).exits(0).says(&format!("the home of jay is {package}, generation 1"));
    rig.is_tidy("web");

    // Deploying the same again leaves it alone.
    rig.sealift(&["deploy", "web", "--yes"]).exits(0).says("is active already");
    assert_eq!(greeting(&rig).1, 1);

    // Only the home: switch-to-configuration is not called, and nothing is delivered.
    rig.forget_calls("web");
    let before = rig.state("web");
    is(&rig, "greeting = \"two\";");
    rig.sealift(&["deploy", "web", "--home", "--yes"]).exits(0).says("the home of jay is switched");
    assert_eq!((greeting(&rig), rig.calls("web"), rig.state("web")), (("two".to_owned(), 2), vec![], before.clone()));
    assert_eq!(home(&rig)["generation"], json!(2));

    // Back, and to a generation by number; the system stays.
    rig.sealift(&["rollback", "web", "--home"]).exits(0).says("back to generation 1 of the home of jay");
    assert_eq!((greeting(&rig).0, home(&rig)["generation"].clone()), ("one".to_owned(), json!(1)));
    rig.sealift(&["status", "web"]).exits(0);
    rig.sealift(&["rollback", "web", "--home=jay", "--to", "2"]).exits(0);
    assert_eq!((greeting(&rig).0, home(&rig)["generation"].clone()), ("two".to_owned(), json!(2)));
    assert_eq!((rig.calls("web"), rig.state("web")), (vec![], before));
    rig.sealift(&["rollback", "web", "--home", "--to", "9"]).exits(1).says("no generation 9").says("there are: 1, 2");
    rig.sealift(&["rollback", "web", "--home=mallory"]).exits(1).says("mallory has no home");
    rig.is_tidy("web");
}

#[test]
fn nix_a_check_that_fails_takes_the_home_back_with_the_system() {
    if cannot_rig("remote: a standalone home that goes back") {
        return;
    }
    let rig = with_home();
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(greeting(&rig), ("one".to_owned(), 1));
    let (before, known) = (rig.state("web"), home(&rig));
    rig.forget_calls("web");
    // System and home change, and the home removes a file that a check requires.
    is(&rig, "greeting = \"two\"; removes = \"wanted\";");
    rig.change(&["web"]);
    let run = rig.sealift(&["deploy", "web", "--yes", "--settle", "0"]).exits(6);
    run.says("check wanted: /home/jay/wanted does not exist").says("activating the previous home of jay");
    assert_eq!(greeting(&rig), ("one".to_owned(), 3), "the new one was active, and the former one is again");
    assert_eq!((rig.state("web"), home(&rig)), (before.clone(), known.clone()));
    assert_eq!(rig.calls("web"), ["test 0", "test 0"], "the system went back too");
    rig.is_tidy("web");

    // An activation that fails half-way: none of its links stay.
    is(&rig, "greeting = \"three\"; more = \"new\"; fails = true;");
    let run = rig.sealift(&["deploy", "web", "--yes", "--settle", "0"]).exits(6);
    run.says("it does not come up").says("the home of jay was not activated: exit code 3");
    rig.on("web", &["sh", "-c", "test ! -L /home/jay/new && test -L /home/jay/greeting"]);
    assert_eq!((greeting(&rig).0, rig.state("web"), home(&rig)), ("one".to_owned(), before.clone(), known.clone()));
    // A home deployed alone is rolled back alone.
    rig.forget_calls("web");
    rig.sealift(&["deploy", "web", "--home", "--yes", "--settle", "0"]).exits(6).says("homes are what they were");
    assert_eq!((greeting(&rig).0, rig.state("web"), rig.calls("web")), ("one".to_owned(), before.clone(), vec![]));

    // A failure after the profiles are set is rolled back as far.
    is(&rig, "greeting = \"four\";");
    rig.fail("web", "boot 1");
    rig.sealift(&["deploy", "web", "--yes", "--settle", "0"]).exits(6);
    assert_eq!((greeting(&rig).0, rig.state("web"), home(&rig)), ("one".to_owned(), before, known));
    rig.is_tidy("web");
}

#[test]
fn nix_a_home_that_comes_with_the_system_or_cannot_come_is_left_and_said() {
    if cannot_rig("remote: homes that are left") {
        return;
    }
    let rig = with_home();
    // home-manager's NixOS module has a unit for each home in the system.
    rig.system("web", "{ etc.\"systemd/system/home-manager-jay.service\" = \"[Unit]\\n\"; }");
    rig.commit();
    rig.on("web", &["sh", "-c", "touch /home/jay/wanted && chown jay /home/jay/wanted"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0).says("home of jay: left as it is: it comes with the system");
    assert_eq!(greeting(&rig), (String::new(), 0));
    // A system that becomes active only at the next boot.
    rig.system("web", "{ interface = \"systemd 3\"; }");
    rig.commit();
    rig.sealift(&["deploy", "web", "--yes"]).exits(0).says("`sealift deploy --home` once it runs");
    assert_eq!(greeting(&rig), (String::new(), 0));
    rig.rig(&["reboot", "web"]);
    rig.sealift(&["deploy", "web", "--home", "--yes"]).exits(0);
    assert_eq!(greeting(&rig).0, "one");
    // A user who does not exist, a home that does not evaluate, and no home at all.
    rig.sandbox.write("homes/ghost@web.nix", "{ greeting = \"boo\"; }\n");
    rig.commit();
    let before = rig.state("web");
    rig.sealift(&["deploy", "web", "--home", "--yes"]).exits(6).says("there is no user ghost");
    rig.sandbox.write("homes/ghost@web.nix", "{ greeting = throw \"not today\"; }\n");
    rig.commit();
    rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("the homes of web could not be built").says("not today");
    rig.sandbox.tool("git", &["mv", "homes/ghost@web.nix", "homes/ghost@db.nix"]);
    rig.sandbox.tool("git", &["mv", "homes/jay@web.nix", "homes/jay@db.nix"]);
    rig.commit();
    rig.sealift(&["deploy", "web", "--home", "--yes"]).exits(1).says("the flake has no home for web");
    assert_eq!(rig.state("web"), before);
    rig.is_tidy("web");
}

#[test]
fn nix_a_home_is_switched_from_the_machine_itself() {
    if cannot_rig("remote: a standalone home on this machine") {
        return;
    }
    let rig = with_home();
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    is(&rig, "greeting = \"two\";");
    // A checkout on the machine, with the programs that its systems consist of, deployed by root.
    let copied = |from: &Path, to: &str| {
        let to = rig.disk("web", to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        let status = std::process::Command::new("cp").args(["-rT".as_ref(), from, &to]).status();
        assert!(status.expect("cp").success());
    };
    copied(&rig.sandbox.fleet(), "/root/fleet");
    copied(Path::new(env!("CARGO_BIN_EXE_sealift")), "/root/sealift");
    let programs: Value = serde_json::from_str(&rig.sandbox.read("programs.json")).expect("JSON");
    for path in programs.as_object().expect("programs").values().filter_map(|program| program["path"].as_str()) {
        copied(Path::new(path), path);
    }
    let here = |words: &str| {
        let line = format!("cd /root/fleet && HOME=/root /root/sealift {words} 2>&1; echo $?");
        rig.on("web", &["sh", "-c", &line])
    };
    let said = here("deploy --yes");
    assert!(said.ends_with("\n0\n"), "{said}");
    assert_eq!(greeting(&rig), ("two".to_owned(), 2));
    assert_eq!(home(&rig)["generation"], json!(2));
    let said = here("rollback --home");
    assert!(said.ends_with("\n0\n"), "{said}");
    assert_eq!((greeting(&rig).0, home(&rig)["generation"].clone()), ("one".to_owned(), json!(1)));
    rig.is_tidy("web");
}
