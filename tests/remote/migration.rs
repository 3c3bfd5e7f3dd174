//! What a migrating fleet learns about remote machines.

use crate::harness::rig::Rig;

#[test]
fn nix_a_machine_is_examined_and_its_way_into_the_fleet_is_told() {
    let Some(rig) = Rig::try_deployed("remote: doctor and progress", &["web"]) else { return };
    let done = |step: &str| {
        let told = rig.sealift(&["status", "--progress", "--json"]).json();
        let steps = told["hosts"][0]["steps"].as_array().expect("steps").clone();
        let mark = steps.iter().find(|mark| mark["step"] == step).unwrap_or_else(|| panic!("{step}: {steps:?}"));
        mark["done"].clone()
    };
    assert_eq!((done("deployed"), done("verified")), (true.into(), true.into()));
    // A machine changed by hand no longer counts as verified; nothing is known of a machine that is off.
    rig.on("web", &["sh", "-c", "chmod 600 /run/sealift/token && echo x >> /run/sealift/token"]);
    assert_eq!((done("deployed"), done("verified")), (true.into(), false.into()));
    rig.rig(&["off", "web"]);
    assert_eq!(done("verified"), serde_json::Value::Null);
    rig.rig(&["on", "web"]);
    // A fault that only the machine itself can detect: a symlink loop in its own directory.
    let clean = rig.sealift(&["doctor", "web"]);
    assert!(!clean.text().contains("etc-nixos") && !clean.text().contains("/etc/nixos"), "{}", clean.text());
    rig.on("web", &["sh", "-c", "mkdir /etc/nixos && ln -s /etc/nixos /etc/nixos/loop"]);
    rig.sealift(&["doctor", "web"]).exits(3).prints("/etc/nixos");
}

#[test]
fn nix_etc_nixos_leads_to_the_flake_and_a_rollback_brings_the_folder_back() {
    let Some(rig) = Rig::try_deployed("remote: --link-etc-nixos", &["web"]) else { return };
    rig.on("web", &["sh", "-c", "mkdir -p /etc/nixos /home/jay/fleet && echo '{ }' | tee /etc/nixos/configuration.nix > /home/jay/fleet/flake.nix"]);
    rig.change(&["web"]);
    // A failed deploy creates no link.
    rig.fail("web", "test 4");
    rig.sealift(&["deploy", "web", "--yes", "--link-etc-nixos=/home/jay/fleet"]).exits(6);
    assert_eq!(rig.on("web", &["stat", "-c", "%F", "/etc/nixos"]), "directory\n");
    rig.sealift(&["deploy", "web", "--yes", "--link-etc-nixos=/home/jay/fleet"]).exits(0);
    assert_eq!(rig.on("web", &["readlink", "/etc/nixos"]), "/home/jay/fleet\n");
    rig.sealift(&["rollback", "web"]).exits(0);
    assert_eq!(rig.on("web", &["stat", "-c", "%F", "/etc/nixos"]), "directory\n");
    assert_eq!(rig.on("web", &["cat", "/etc/nixos/configuration.nix"]), "{ }\n");
}
