//! A run killed on the machine, or with it: it is rolled back, or was done already.

use crate::harness::realm::{Realm, cannot_realm};

/// A deploy of a second system that has reached this point.
fn at(point: &str, then: impl FnOnce(&Realm)) {
    let realm = Realm::deployed(&["web"]);
    let before = realm.state("web");
    realm.changes(&["web"], "");
    let deploying = realm.stopped("web", point, &["deploy", "web", "--yes"]);
    then(&realm);
    deploying.ends(&realm).exits(6).says("it was interrupted");
    assert_eq!(realm.state("web"), before);
    realm.is_in_order("web", "first", 2);
    assert_eq!(realm.last_record("web")["outcome"], "rolled-back");
    // The next deploy is not affected.
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.is_in_order("web", "second", 3);
}

fn unit(realm: &Realm) -> String {
    let unit = realm.shell("web", "systemctl list-units --plain --no-legend 'sealift-deploy-*' | cut -d' ' -f1");
    unit.trim().to_owned()
}

#[test]
fn nix_the_main_process_of_the_unit_is_killed() {
    if cannot_realm("realm: killed unit") {
        return;
    }
    for point in ["second.activate", "second.menu"] {
        at(point, |realm| {
            realm.on("web", &["systemctl", "kill", "--kill-whom=main", "--signal=KILL", &unit(realm)]);
        });
    }
}

#[test]
fn nix_the_part_that_does_the_work_is_killed() {
    if cannot_realm("realm: killed host-run") {
        return;
    }
    at("second.activated", |realm| {
        let worker = realm.worker("web");
        realm.on("web", &["kill", "-9", &worker]);
    });
}

#[test]
fn nix_all_of_the_unit_is_killed() {
    if cannot_realm("realm: killed cgroup") {
        return;
    }
    at("second.etc", |realm| {
        realm.on("web", &["systemctl", "kill", "--kill-whom=all", "--signal=KILL", &unit(realm)]);
    });
}

#[test]
fn nix_a_reboot_in_the_middle_of_a_switch_and_while_waiting_leaves_no_mix() {
    if cannot_realm("realm: reboot in the switch and while waiting") {
        return;
    }
    at("second.etc", |realm| {
        realm.rig(&["reboot", "web"]);
    });
    let realm = Realm::deployed(&["web"]);
    realm.changes(&["web"], "");
    let deploying = realm.stopped("web", "second.activated", &["deploy", "web", "--yes", "--acknowledge", "60"]);
    // Nobody can acknowledge it.
    realm.rig(&["link", "web", "down"]);
    realm.go_on("web");
    realm.wait_for_journal("web", "\"reached\": \"acknowledge\"");
    realm.rig(&["reboot", "web"]);
    realm.settles("web");
    realm.rig(&["link", "web", "up"]);
    realm.is_in_order("web", "first", 2);
    deploying.ends(&realm).exits(6).says("it was interrupted");
}

#[test]
fn nix_a_first_deploy_that_a_power_cut_ends_is_taken_back_at_the_next_boot() {
    let Some(realm) = Realm::try_up("realm: first deploy taken back at boot", &["web"]) else { return };
    let before = realm.state("web");
    let deploying = realm.stopped("web", "first.default", &["deploy", "web", "--yes"]);
    realm.cut_power("web");
    realm.boot("web");
    deploying.ends(&realm).exits(6).says("it was interrupted");
    assert_eq!(realm.state("web"), before);
    assert_eq!(
        realm.shell("web", "find /run/sealift.d -type f ! -name '.*' 2> /dev/null; true"),
        "",
        "values are left"
    );
    realm.is_tidy("web");
}
