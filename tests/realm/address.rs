//! A system that makes the host unreachable is rolled back.

use crate::harness::realm::Realm;

#[test]
fn nix_a_system_with_another_address_goes_back_by_itself() {
    let Some(realm) = Realm::try_deployed("realm: address changed", &["web"]) else { return };
    realm.changes(&["web"], "address = \"10.97.0.200\";");
    realm
        .sealift(&["deploy", "web", "--yes", "--acknowledge", "4"])
        .exits(6)
        .says("the deployer did not reconnect within 4 s");
    realm.is_in_order("web", "first", 2);
    realm.rig(&["reboot", "web"]);
    realm.is_in_order("web", "first", 2);
}

#[test]
fn nix_a_link_that_goes_away_during_the_switch_ends_nothing() {
    let Some(realm) = Realm::try_deployed("realm: link cut for a while", &["web"]) else { return };
    realm.changes(&["web"], "");
    let deploying = realm.stopped("web", "second.activated", &["deploy", "web", "--yes"]);
    realm.rig(&["link", "web", "down"]);
    realm.wait_until("the loss", || deploying.said().contains("the connection was lost"));
    realm.rig(&["link", "web", "up"]);
    realm.go_on("web");
    deploying.ends(&realm).exits(0);
    realm.is_in_order("web", "second", 3);
}
