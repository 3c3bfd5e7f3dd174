//! How a boot delivers secrets: when, and what happens if one does not open.

use crate::harness::realm::{APP, Realm, cannot_realm};

/// When a unit reached a state, in microseconds since boot.
fn since(realm: &Realm, unit: &str, property: &str) -> u64 {
    realm.property("web", unit, &format!("{property}TimestampMonotonic")).parse().expect("a number")
}

#[test]
fn nix_secrets_are_there_before_the_system_and_before_who_uses_them() {
    let Some(realm) = Realm::try_deployed("realm: boot order", &["web"]) else { return };
    realm.rig(&["reboot", "web"]);
    realm.is_in_order("web", "first", 2);
    let installed = since(&realm, "sealift-install.service", "ActiveEnter");
    assert!(installed > 0);
    assert!(installed <= since(&realm, "sysinit.target", "ActiveEnter"));
    assert!(installed <= since(&realm, "app.service", "InactiveExit"));
    // The recovery is enabled for the next boot, but had nothing to do.
    assert_eq!(realm.property("web", "sealift-recover.service", "ConditionResult"), "no");
}

#[test]
fn nix_users_are_made_with_their_secrets() {
    if cannot_realm("realm: needed_for_users") {
        return;
    }
    for by in ["unit", "script"] {
        let realm = Realm::up(&["web"]);
        // A hash, as in a password file, with the canary in it.
        let hash = format!("$6$salt${}", realm.sandbox.value("hash"));
        realm
            .sandbox
            .sealift_with(&["seal", "password", "--hosts", "*", "--needed-for-users", "--stdin"], hash.as_bytes())
            .exits(0);
        let users = format!("usersBy = \"{by}\"; passwords.mallory = \"/run/sealift-users/password\";");
        realm.has("web", "first", &format!("{APP}{users}"));
        realm.commit();
        realm.sealift(&["deploy", "web", "--yes"]).exits(0);
        let shadow = realm.shell("web", "getent shadow mallory | cut -d: -f2");
        assert_eq!(shadow.trim(), hash, "{by}: at the switch");
        // As on a machine that recreates its users at every boot.
        realm.shell("web", "usermod -p '!' mallory");
        realm.rig(&["reboot", "web"]);
        realm.is_tidy("web");
        let shadow = realm.shell("web", "getent shadow mallory | cut -d: -f2");
        assert_eq!(shadow.trim(), hash, "{by}: at the boot");
        if by == "unit" {
            let installed = since(&realm, "sealift-install-users.service", "ActiveEnter");
            assert!(installed <= since(&realm, "systemd-sysusers.service", "InactiveExit"));
        }
        // Remove what passwd itself left on the disk.
        realm.shell("web", "usermod -p '!' mallory; rm -f /etc/shadow-");
    }
}

#[test]
fn nix_a_wrong_host_key_stops_no_boot_and_keeps_what_this_boot_had() {
    let Some(realm) = Realm::try_deployed("realm: wrong host key at boot", &["web"]) else { return };
    let key = "/etc/ssh/ssh_host_ed25519_key";
    realm.shell("web", &format!("cp -p {key} /root/key && rm {key} && ssh-keygen -q -t ed25519 -N '' -f {key} <<< y"));
    // During the boot that delivered them, the last good values stay.
    realm.shell("web", "! systemctl restart sealift-install.service 2> /dev/null");
    assert_eq!(realm.secret("web", "token"), Some(realm.sandbox.value("first")));
    // The next boot has none; it continues and reports what is wrong.
    realm.rig(&["reboot", "web"]);
    assert_eq!(realm.secret("web", "token"), None);
    assert_eq!(realm.property("web", "sealift-install.service", "ActiveState"), "failed");
    assert_eq!(realm.property("web", "multi-user.target", "ActiveState"), "active");
    assert_eq!(realm.property("web", "sshd.service", "ActiveState"), "active");
    let said = realm.on("web", &["journalctl", "-b", "-u", "sealift-install.service", "-o", "cat", "--no-pager"]);
    assert!(said.contains("token"), "{said}");
    // With the key back, all is as before.
    realm.shell("web", &format!("cp -p /root/key {key} && rm {key}.pub"));
    realm.rig(&["reboot", "web"]);
    realm.is_in_order("web", "first", 2);
}
