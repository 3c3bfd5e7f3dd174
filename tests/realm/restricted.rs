//! A machine that lets little happen: sudo for one line only, a logind that does not answer.

use crate::harness::realm::{Realm, cannot_realm};

#[test]
fn nix_sudo_for_the_part_on_the_host_alone_is_enough() {
    if cannot_realm("realm: sudo limited to host-run") {
        return;
    }
    let realm = Realm::deployed(&["web"]);
    realm.rig(&["sudo", "web", "host"]);
    realm.changes(&["web"], "");
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.is_in_order("web", "second");
    realm.sealift(&["rollback", "web"]).exits(0);
    realm.is_in_order("web", "first");
}

#[test]
fn nix_a_logind_that_is_dead_or_hangs_blocks_no_deploy() {
    if cannot_realm("realm: dead logind") {
        return;
    }
    let realm = Realm::deployed(&["web"]);
    realm.changes(&["web"], "");
    // It hangs: whoever asks it waits.
    realm.on("web", &["systemctl", "kill", "--kill-whom=main", "--signal=STOP", "systemd-logind.service"]);
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.on("web", &["systemctl", "kill", "--kill-whom=main", "--signal=CONT", "systemd-logind.service"]);
    realm.is_in_order("web", "second");
    // It is not there at all.
    realm.shell(
        "web",
        "systemctl mask --runtime --now systemd-logind.service dbus-org.freedesktop.login1.service 2> /dev/null",
    );
    realm.sealift(&["rollback", "web"]).exits(0);
    realm.is_in_order("web", "first");
}
