//! A plan that was reviewed is what is done, whatever the repository says by then.

use crate::harness::rig::{Rig, cannot_rig};

#[test]
fn nix_what_was_reviewed_is_what_is_done() {
    if cannot_rig("remote: plan and apply") {
        return;
    }
    let rig = Rig::deployed(&["web"]);
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
    // The collector runs in between, and leaves what was planned.
    let collect = rig.command("nix-collect-garbage");
    rig.sandbox.run(collect, b"").exits(0);
    rig.sealift(&["apply", shown, "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(second));
    assert_eq!(rig.on("web", &["readlink", "/run/current-system"]).trim(), system);

    // What runs is not what the plan saw: it does not hold any more.
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    let before = rig.state("web");
    rig.sealift(&["apply", shown, "--yes"]).exits(1).says("the running system has changed since the plan was made");
    assert_eq!(rig.state("web"), before);
    rig.is_tidy("web");
}

#[test]
fn nix_a_plan_that_was_tampered_with_is_refused() {
    if cannot_rig("remote: tampered plans") {
        return;
    }
    let rig = Rig::deployed(&["web"]);
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
        ("\"hosts\"", "\"hosst\"", 2, "is no plan"),
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
