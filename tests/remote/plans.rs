//! A reviewed plan is carried out as it is, whatever the repository contains by then.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::rig::Rig;

#[test]
fn nix_what_was_reviewed_is_what_is_done() {
    let Some(rig) = Rig::try_deployed("remote: plan and apply", &["web"]) else { return };
    let second = rig.change(&["web"]);
    let file = rig.sandbox.path("plan.json");
    let shown = file.to_str().unwrap();
    rig.sealift(&["plan", "web", "-o", shown]).exits(0).says("~ token (version 1 → version 2)").says("sealift apply");
    assert!(rig.calls("web").is_empty());
    let plan: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let system = plan["hosts"]["web"]["plan"]["system"].as_str().unwrap().to_owned();

    rig.seal("token", "third", &[]);
    rig.system("web", "{ etc.motd = \"third\"; }");
    rig.commit();
    // Garbage collection in between keeps what was planned.
    let collect = rig.command("nix-collect-garbage");
    rig.sandbox.run(collect, b"").exits(0);
    rig.sealift(&["apply", shown, "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(second));
    assert_eq!(rig.on("web", &["readlink", "/run/current-system"]).trim(), system);

    // The running system is not the one in the plan, so the plan is no longer valid.
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    let before = rig.state("web");
    rig.sealift(&["apply", shown, "--yes"]).exits(1).says("the running system has changed since the plan was made");
    assert_eq!(rig.state("web"), before);
    rig.is_tidy("web");
}

#[test]
fn nix_a_plan_that_was_tampered_with_is_refused() {
    let Some(rig) = Rig::try_deployed("remote: tampered plans", &["web"]) else { return };
    rig.change(&["web"]);
    let file = rig.sandbox.path("plan.json");
    let shown = file.to_str().unwrap();
    rig.sealift(&["plan", "web", "-o", shown]).exits(0);
    let good = std::fs::read_to_string(&file).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&good).unwrap();
    let system = plan["hosts"]["web"]["plan"]["system"].as_str().unwrap();
    let before = rig.state("web");
    for (from, to, code, says) in [
        ("\"version\": 1", "\"version\": 2", 2, "is of version 2"),
        ("\"hosts\"", "\"hosst\"", 2, "is not a plan"),
        (system, "/tmp/evil", 2, "not a store path"),
        ("\"web\": {", "\"nobody\": {", 2, "no host nobody"),
    ] {
        std::fs::write(&file, good.replace(from, to)).unwrap();
        rig.sealift(&["apply", shown, "--yes"]).exits(code).says(says);
    }
    std::fs::write(&file, good.replace(system, "/nix/store/00000000000000000000000000000000-none")).unwrap();
    rig.sealift(&["apply", shown, "--yes"]).exits(1).says("not in the store any more").says("sealift plan");
    assert_eq!((rig.state("web"), rig.calls("web")), (before, Vec::new()));
}

/// Installs a program of this name that records its call, and prints like such programs.
fn differ(folder: &Path, name: &str, called: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"{name} $*\" >> '{}'\nprintf '\\033[32m[U.]\\033[0m #1  linux  6.12 -> 6.13\\n\\a\\n'\n",
        called.display()
    );
    std::fs::write(folder.join(name), script).unwrap();
    std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn nix_only_a_known_program_compares_and_only_where_it_is_named() {
    let Some(rig) = Rig::try_deployed("remote: [deploy] diff", &["web"]) else { return };
    rig.change(&["web"]);
    let (bin, called) = (rig.sandbox.path("bin"), rig.sandbox.path("called"));
    ["dix", "nvd"].iter().for_each(|name| differ(&bin, name, &called));
    // The repository contains one too, and the user's PATH leads there: it is never run.
    differ(&rig.sandbox.fleet(), "nvd", &rig.sandbox.path("trap"));
    let command = rig.command("sealift");
    let path = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "PATH")).unwrap().to_owned();
    let path = path.to_str().unwrap();
    let plan = |before: &str| {
        let mut command = rig.sealift_command(&["plan", "web"]);
        command.env("PATH", format!("{before}:{path}"));
        let run = rig.sandbox.run(command, b"").exits(0);
        let calls = std::fs::read_to_string(&called).unwrap_or_default();
        std::fs::write(&called, "").unwrap();
        (run, calls)
    };
    let own = format!(".:{}", rig.sandbox.fleet().display());
    let with_both = format!("{own}:{}", bin.display());
    let (run, calls) = plan(&with_both);
    assert_eq!(calls, "", "nobody named one");
    run.says("packages added: motd");
    rig.declare("\n[deploy]\ndiff = \"nvd\"\n");
    rig.commit();
    let (run, calls) = plan(&with_both);
    let run = run.says("packages, according to nvd:").says("    [U.] #1  linux  6.12 -> 6.13\n").says("    \\u{7}\n");
    assert!(!run.stderr.contains("packages added"), "{}", run.stderr);
    assert!(calls.starts_with("nvd --color=never diff /nix/store/") && calls.lines().count() == 1, "{calls}");
    // If it is not installed, sealift compares itself.
    let (run, _) = plan(".");
    run.says("nvd could not compare, so sealift does: nvd is not installed").says("packages added: motd");
    let (run, _) = plan(&own);
    run.says("nvd is not run: it lies in the repository").says("packages added: motd");
    assert!(!rig.sandbox.path("trap").exists(), "the repository's own was run");
}

#[test]
fn nix_hosts_with_the_same_change_are_shown_once() {
    let Some(rig) = Rig::try_deployed("remote: a plan of two hosts", &["web", "db", "app"]) else { return };
    rig.change(&["web", "db"]);
    rig.system("app", "{ kernel = \"6.13\"; }");
    rig.commit();
    let run = rig.sealift(&["plan", "--all", "--json"]).exits(0);
    let same = run.stderr.lines().find(|line| line.starts_with("db, web (same change): ")).expect("both at once");
    for part in ["1 package", "· closure +", "· 1 secret", "· 1 unit restarts", "· no reboot"] {
        assert!(same.contains(part), "{part}: {same}");
    }
    assert_eq!(run.stderr.matches("packages added: motd").count(), 1, "{}", run.stderr);
    let run = run.says("app: linux 6.12 → 6.13 · ").says("in all: 3 hosts · closures +");
    assert!(!run.stderr.contains('∅') && !run.stderr.contains('ε'), "{}", run.stderr);
    let plan = &run.json()["hosts"]["web"]["plan"];
    let sizes = &plan["closure"];
    assert!(sizes["before"].as_u64() < sizes["after"].as_u64() && sizes["before"].as_u64() > Some(0), "{plan}");
    assert_eq!(plan["changes"].as_array().unwrap().len(), plan["packages"].as_array().unwrap().len(), "{plan}");
}
