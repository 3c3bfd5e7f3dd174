//! A deploy delivers the system with its secrets and units, and can be inspected and rolled back.

use crate::harness::realm::{APP, Realm};

#[test]
fn nix_a_first_contact_brings_all_that_is_needed_and_lasts() {
    let Some(realm) = Realm::try_up("realm: first contact", &["web"]) else { return };
    realm.sealift(&["status", "web"]).exits(0).says("nothing of sealift is there yet");
    realm.sealift(&["deploy", "web", "--yes"]).exits(0).says("+ token (version 1)");
    realm.is_in_order("web", "first", 2);
    assert_eq!(realm.app_saw("web"), [realm.sandbox.value("first")], "it was started once");
    realm.rig(&["reboot", "web"]);
    realm.is_in_order("web", "first", 2);
    assert_eq!(realm.app_saw("web"), [realm.sandbox.value("first")], "with its value at once");
    // Deploying the same again changes and starts nothing.
    let before = realm.state("web");
    realm.sealift(&["deploy", "web", "--yes"]).exits(0).says("runs already").says("1 secret is live already");
    assert_eq!((realm.state("web"), realm.app_saw("web").len()), (before, 1));
    realm.is_tidy("web");
}

#[test]
fn nix_a_changed_secret_restarts_its_unit_once_and_all_of_it_is_told_and_taken_back() {
    let Some(realm) =
        Realm::try_deployed("realm: second deploy, rollback, generations, status, verify, doctor", &["web"])
    else {
        return;
    };
    let (first, second) = (realm.sandbox.value("first"), realm.sandbox.value("second"));
    realm.changes(&["web"], "");
    realm.sealift(&["deploy", "web", "--yes"]).exits(0).says("~ token (version 1 → version 2)");
    realm.is_in_order("web", "second", 3);
    assert_eq!(realm.app_saw("web"), [&*first, &*second]);
    // A change elsewhere leaves the service alone.
    realm.has("web", "third", APP);
    realm.commit();
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.is_in_order("web", "third", 4);
    assert_eq!(realm.app_saw("web").len(), 2);

    realm.sealift(&["status", "web"]).exits(0).prints("up to date");
    let list = realm.sealift(&["generations", "web", "--json"]).exits(0).json();
    assert_eq!(list["generations"].as_array().unwrap().len(), 4);
    realm.sealift(&["verify", "web"]).exits(0).says("1 secret are as they should be");
    realm.sealift(&["doctor"]).exits(0);

    let back = "! token (version 2 → version 1: an older version comes back)";
    realm.sealift(&["rollback", "web", "--to", "2"]).exits(0).says(back);
    realm.is_in_order("web", "first", 4);
    assert_eq!(realm.app_saw("web"), [&*first, &*second, &*first]);
    realm.sealift(&["rollback", "web", "--to", "4"]).exits(0);
    realm.is_in_order("web", "third", 4);
}

#[test]
fn nix_the_end_of_a_boot_is_waited_for() {
    let Some(realm) = Realm::try_up("realm: a deploy during a boot", &["web"]) else { return };
    // A unit that keeps the boot from finishing; a deploy that did not wait would be done by then.
    let slow = "services.slow.text = ''
      [Service]
      Type=oneshot
      ExecStart=/bin/bash -c '[ ! -e /var/realm/slow ] || exec sleep 8'
      Environment=PATH=/usr/bin
    '';";
    let more = "services.more.text = \"[Service]\\nExecStart=/usr/bin/sleep infinity\\n\";";
    realm.has("web", "first", &format!("{APP}{slow}"));
    realm.commit();
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.changes(&["web"], &format!("{slow}{more}"));
    realm.shell("web", "touch /var/realm/slow && sync");
    realm.cut_power("web");
    realm.rig(&["begin", "web"]);
    realm.sealift(&["deploy", "web", "--yes"]).exits(0).says("waiting for the end of the boot");
    realm.is_in_order("web", "second", 3);
    assert_eq!(realm.property("web", "more.service", "ActiveState"), "active", "what the new system wants is started");
}

#[test]
fn nix_another_manager_is_executed_in_the_middle_of_a_switch() {
    let Some(realm) = Realm::try_deployed("realm: daemon-reexec", &["web"]) else { return };
    realm.changes(&["web"], "systemd = \"systemd-next\";");
    let before = realm.shell("web", "readlink /proc/1/exe");
    realm.sealift(&["deploy", "web", "--yes"]).exits(0).says("restarting systemd...");
    let after = realm.shell("web", "readlink /proc/1/exe");
    assert!(before != after && after.contains("systemd-next"), "{before} {after}");
    realm.is_in_order("web", "second", 3);
    realm.rig(&["reboot", "web"]);
    realm.is_in_order("web", "second", 3);
}

#[test]
fn nix_what_cannot_be_activated_live_waits_for_the_reboot() {
    let Some(realm) = Realm::try_deployed("realm: pending reboot", &["web"]) else { return };
    realm.changes(&["web"], "interface = \"systemd 3\"; kernel = \"6.13\";");
    let run = realm.sealift(&["deploy", "web", "--yes", "--json"]).exits(0).says("cannot be activated live");
    assert_eq!(run.result()["outcome"], "pending-reboot");
    assert_eq!(realm.app_saw("web"), [realm.sandbox.value("first")], "nothing live has changed");
    realm.sealift(&["status", "web"]).exits(0).prints("pending");
    realm.rig(&["reboot", "web"]);
    realm.is_in_order("web", "second", 3);
}

#[test]
fn nix_while_a_deploy_is_at_work_the_machine_is_held_and_its_end_is_looked_after() {
    let Some(realm) = Realm::try_deployed("realm: inhibitor and unit", &["web"]) else { return };
    realm.changes(&["web"], "");
    // After the daemon-reload of the switch.
    let deploying = realm.stopped("web", "second.bootloader", &["deploy", "web", "--yes"]);
    let held = realm.on("web", &["systemd-inhibit", "--list", "--no-legend"]);
    assert!(held.contains("sealift") && held.contains("shutdown") && held.contains("block"), "{held}");
    let unit = realm.shell("web", "systemctl list-units --plain --no-legend 'sealift-deploy-*' | cut -d' ' -f1");
    let after = realm.property("web", unit.trim(), "ExecStopPost");
    assert!(after.contains("host-run --recover"), "{after}");
    assert_eq!(realm.property("web", unit.trim(), "KillMode"), "mixed");
    realm.go_on("web");
    deploying.ends(&realm).exits(0);
    realm.is_in_order("web", "second", 3);
    assert!(!realm.on("web", &["systemd-inhibit", "--list", "--no-legend"]).contains("sealift"));
}
