//! A system with something that fails is not kept: the former one comes back, by the real service manager.

use crate::harness::realm::{APP, Realm, cannot_realm};

fn service(lines: &str) -> String {
    format!("services.bad.text = ''\n[Service]\n{lines}\n'';")
}

/// A deploy of a system with this is rolled back, and says this.
fn is_rolled_back(realm: &Realm, more: &str, says: &str) {
    let before = realm.state("web");
    realm.changes(&["web"], more);
    let run = realm.sealift(&["deploy", "web", "--yes", "--json"]).exits(6).says("rolled back").says(says);
    assert_eq!(run.result()["outcome"], "rolled-back");
    assert_eq!(realm.state("web"), before);
    realm.is_in_order("web", "first");
    // It would boot again as it is.
    realm.rig(&["reboot", "web"]);
    realm.is_in_order("web", "first");
}

#[test]
fn nix_a_unit_that_fails_takes_the_system_back() {
    if cannot_realm("realm: failing unit") {
        return;
    }
    let realm = Realm::deployed(&["web"]);
    is_rolled_back(&realm, &service("Type=oneshot\nExecStart=/usr/bin/false"), "bad.service");
    // One that had failed before is told, and is no reason.
    realm.shell(
        "web",
        "systemd-run --quiet --unit=old -p Restart=always -p RestartSec=40 /usr/bin/false; systemctl stop old; true",
    );
    realm.has("web", "first", &format!("{APP}{}", service("Type=oneshot\nExecStart=/usr/bin/true")));
    realm.commit();
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
}

#[test]
fn nix_a_crash_loop_takes_the_system_back() {
    if cannot_realm("realm: crash loop") {
        return;
    }
    let realm = Realm::deployed(&["web"]);
    is_rolled_back(&realm, &service("ExecStart=/usr/bin/false\nRestart=always\nRestartSec=20"), "bad.service");
}

#[test]
fn nix_an_activation_script_that_fails_takes_the_system_back() {
    if cannot_realm("realm: failing activation") {
        return;
    }
    let realm = Realm::deployed(&["web"]);
    is_rolled_back(&realm, "activation = \"false\";", "its activation script failed");
}

#[test]
fn nix_a_boot_menu_that_cannot_be_written_takes_the_system_back() {
    if cannot_realm("realm: failing boot loader") {
        return;
    }
    let realm = Realm::deployed(&["web"]);
    is_rolled_back(&realm, "bootloader = \"exit 1\";", "cannot be made the system that boots");
}
