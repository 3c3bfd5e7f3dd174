//! A restricted machine: sudo for only one command line, and no logind.

use crate::harness::realm::Realm;

#[test]
fn nix_sudo_for_the_part_on_the_host_alone_is_enough() {
    let Some(realm) = Realm::try_deployed("realm: sudo limited to host-run", &["web"]) else { return };
    realm.rig(&["sudo", "web", "host"]);
    realm.changes(&["web"], "");
    realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    realm.is_in_order("web", "second", 3);
    realm.sealift(&["rollback", "web"]).exits(0);
    realm.is_in_order("web", "first", 3);
}

#[test]
fn nix_a_logind_that_is_dead_blocks_no_deploy() {
    let Some(realm) = Realm::try_deployed("realm: dead logind", &["web"]) else { return };
    // A switch needs logind to list the users.
    realm.changes(&["web"], "activation = \"/usr/bin/systemctl start systemd-logind.service\";");
    // Once it has run, it is no longer started on demand.
    realm.shell(
        "web",
        "rm /usr/share/dbus-1/system-services/org.freedesktop.login1.service &&
         systemctl reload dbus.service && systemctl stop systemd-logind.service && test -d /run/systemd/seats",
    );
    let run = realm.sealift(&["deploy", "web", "--yes"]).exits(0);
    run.says("sleep and shutdown cannot be held off");
    realm.is_in_order("web", "second", 3);
}
