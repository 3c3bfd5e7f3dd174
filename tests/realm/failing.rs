//! A system with a failing unit is rolled back by the real service manager.

use crate::harness::realm::{APP, Realm};

fn service(lines: &str) -> String {
    format!("services.bad.text = ''\n[Service]\n{lines}\n'';")
}

/// Asserts that a deploy of a system with `more` is rolled back with this message.
fn is_rolled_back(realm: &Realm, more: &str, says: &str) {
    let before = realm.state("web");
    realm.changes(&["web"], more);
    let run = realm.sealift(&["deploy", "web", "--yes", "--json"]).exits(6).says("rolled back").says(says);
    assert_eq!(run.result()["outcome"], "rolled-back");
    assert_eq!(realm.state("web"), before);
    realm.is_in_order("web", "first", 2);
    // The next boot starts the same system.
    realm.rig(&["reboot", "web"]);
    realm.is_in_order("web", "first", 2);
}

#[test]
fn nix_a_unit_that_fails_takes_the_system_back() {
    let Some(realm) = Realm::try_deployed("realm: failing unit", &["web"]) else { return };
    is_rolled_back(&realm, &service("Type=oneshot\nExecStart=/usr/bin/false"), "bad.service");
}

#[test]
fn nix_a_unit_that_had_failed_before_is_no_reason_to_go_back() {
    let Some(realm) = Realm::try_deployed("realm: unit that had failed before", &["web"]) else { return };
    let bad = service("ExecStart=/usr/bin/false");
    realm.has("web", "first", &format!("{APP}{bad}"));
    realm.commit();
    // It fails at boot, after which nothing is rolled back.
    realm.sealift(&["deploy", "web", "--action", "boot", "--yes"]).exits(0);
    realm.rig(&["reboot", "web"]);
    assert_eq!(realm.property("web", "bad.service", "ActiveState"), "failed");
    realm.changes(&["web"], &bad);
    realm.sealift(&["deploy", "web", "--yes"]).exits(0).says("bad.service");
    assert_eq!(realm.secret("web", "token"), Some(realm.sandbox.value("second")));
}

#[test]
fn nix_a_unit_of_a_user_that_fails_takes_the_system_back() {
    let Some(realm) = Realm::try_up("realm: failing user unit", &["web"]) else { return };
    let note = |what: &str| format!("userServices.note.text = ''\n[Service]\n{what}\n'';");
    realm.has("web", "first", &format!("{APP}{}", note("ExecStart=/usr/bin/sleep infinity")));
    realm.commit();
    // The user's manager runs from boot on.
    realm.shell("web", "mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/jay");
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.rig(&["reboot", "web"]);
    let is_active = || realm.shell("web", "systemctl --user --machine=jay@.host is-active note.service; true");
    realm.wait_until("the user's unit", || is_active() == "active\n");
    let before = realm.state("web");
    realm.changes(&["web"], &note("Type=oneshot\nExecStart=/usr/bin/false"));
    realm.sealift(&["deploy", "web", "--yes"]).exits(6).says("note.service");
    assert_eq!(realm.state("web"), before);
    // Units of the previous system are the user's to start again: no switch starts a unit that has failed.
    realm.is_in_order("web", "first", 2);
}

#[test]
fn nix_a_unit_that_its_user_makes_fail_takes_nothing_back() {
    let Some(realm) = Realm::try_up("realm: user unit with a drop-in", &["web"]) else { return };
    let note = |time: &str| format!("userServices.note.text = ''\n[Service]\nExecStart=/usr/bin/sleep {time}\n'';");
    realm.has("web", "first", &format!("{APP}{}", note("1000000")));
    realm.commit();
    realm.shell("web", "mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/mallory");
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.rig(&["reboot", "web"]);
    let is_active = || realm.shell("web", "systemctl --user --machine=mallory@.host is-active note.service; true");
    realm.wait_until("the user's unit", || is_active() == "active\n");
    realm.shell(
        "web",
        "cd /home/mallory && mkdir -p .config/systemd/user/note.service.d
         printf '[Service]\\nType=oneshot\\nExecStart=\\nExecStart=/usr/bin/false\\n' > .config/systemd/user/note.service.d/x.conf
         chown -R mallory: .config",
    );
    realm.changes(&["web"], &note("1000001"));
    realm
        .sealift(&["deploy", "web", "--yes"])
        .exits(0)
        .says("units of mallory failed, which mallory can change: note.service");
    assert_eq!(realm.secret("web", "token"), Some(realm.sandbox.value("second")));
}

#[test]
fn nix_a_user_who_logs_in_or_out_is_no_reason_to_go_back() {
    let Some(realm) = Realm::try_deployed("realm: user without a manager", &["web"]) else { return };
    // As for a moment during a login: there is a session, but no manager to talk to.
    realm.shell("web", "systemctl mask --runtime --now user@1000.service");
    realm.changes(&["web"], "");
    realm
        .sealift(&["deploy", "web", "--yes"])
        .exits(0)
        .says("the units of jay, who logged in or out, were not reloaded");
    realm.shell("web", "systemctl unmask --runtime user@1000.service");
    realm.is_in_order("web", "second", 3);
}

#[test]
fn nix_a_switch_that_a_user_ends_by_logging_out_goes_on() {
    let Some(realm) = Realm::try_up("realm: user who logs out in a switch", &["web"]) else { return };
    // Stops when released, for all users or for its own.
    let slow = |more: &str| {
        format!(
            "{APP}userServices.slow = {{
              text = ''
                [Service]
                ExecStart=/usr/bin/sleep infinity
                ExecStop=/bin/sh -c 'touch /tmp/at.$(id -u); until [ -e /tmp/go ] || [ -e /tmp/go.$(id -u) ]; do sleep 0.1; done'
                Environment=PATH=/usr/bin {more}
              '';
            }};"
        )
    };
    realm.has("web", "first", &slow(""));
    realm.commit();
    realm.shell(
        "web",
        "mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/mallory /var/lib/systemd/linger/root",
    );
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.rig(&["reboot", "web"]);
    for user in ["mallory", "root"] {
        let ask = format!("systemctl --user --machine={user}@.host is-active slow.service; true");
        realm.wait_until("a user's unit", || realm.shell("web", &ask) == "active\n");
    }
    realm.seal("token", "second", &[]);
    realm.has("web", "second", &slow("CHANGED=1"));
    realm.commit();
    let deploying = realm.start(&["deploy", "web", "--yes"]);
    // While the units of one user are switched, another user logs out. jay logs in and out with each connection.
    realm.shell(
        "web",
        "timeout 90 sh -c 'until [ -e /tmp/at.0 ] || [ -e /tmp/at.1001 ]; do sleep 0.1; done'
         if [ -e /tmp/at.1001 ]; then gone=root; else gone=mallory; fi
         touch /tmp/go.$(id -u $gone); rm /var/lib/systemd/linger/$gone
         systemctl stop user@$(id -u $gone).service; loginctl terminate-user $gone 2> /dev/null
         timeout 60 sh -c \"while loginctl show-user $gone > /dev/null 2>&1; do sleep 0.1; done\" && touch /tmp/go",
    );
    let run = deploying.ends(&realm).exits(0);
    assert!(run.stderr.contains("a user logged out and ended the switch"), "{}", run.stderr);
    realm.is_in_order("web", "second", 3);
}

#[test]
fn nix_a_crash_loop_takes_the_system_back() {
    let Some(realm) = Realm::try_deployed("realm: crash loop", &["web"]) else { return };
    is_rolled_back(&realm, &service("ExecStart=/usr/bin/false\nRestart=always\nRestartSec=20"), "bad.service");
}

#[test]
fn nix_an_activation_script_that_fails_takes_the_system_back() {
    let Some(realm) = Realm::try_deployed("realm: failing activation", &["web"]) else { return };
    is_rolled_back(&realm, "activation = \"false\";", "its activation script failed");
}

#[test]
fn nix_a_boot_menu_that_cannot_be_written_takes_the_system_back() {
    let Some(realm) = Realm::try_deployed("realm: failing boot loader", &["web"]) else { return };
    is_rolled_back(&realm, "bootloader = \"exit 1\";", "cannot be made the boot default");
}
