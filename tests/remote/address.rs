//! A machine whose address changes with the switch: it is acknowledged at the new address, on deploy and on rollback.

use crate::harness::rig::Rig;

/// Another address of web, and an unused one.
const SECOND: &str = "10.98.0.250";
const NOBODY: &str = "jay@10.98.0.251";

/// How many connections web got at its second address.
fn at_second(rig: &Rig) -> usize {
    rig.sshd_log("web").lines().filter(|line| line.contains(&format!(" on {SECOND} port 22"))).count()
}

#[test]
fn nix_a_rollback_is_acknowledged_where_it_is_said_to_be() {
    let Some(rig) = Rig::try_deployed("remote: rollback --ack-address", &["web"]) else { return };
    let second = rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    let before = rig.state("web");
    rig.sealift(&["rollback", "web", "--acknowledge", "2", "--ack-address", NOBODY])
        .exits(6)
        .says("the deployer did not reconnect within 2 s");
    assert_eq!((rig.state("web"), rig.secret("web", "token")), (before, Some(second)));
    rig.on("web", &["ip", "addr", "add", &format!("{SECOND}/24"), "dev", "eth0"]);
    rig.sealift(&["rollback", "web", "--ack-address", &format!("jay@{SECOND}")]).exits(0);
    assert_eq!((at_second(&rig), rig.secret("web", "token")), (1, Some(rig.sandbox.value("first"))));
    rig.is_tidy("web");
}

#[test]
fn nix_what_goes_back_after_it_was_watched_is_acknowledged_where_it_was() {
    let Some(rig) = Rig::try_deployed("remote: --soak and --ack-address", &["web"]) else { return };
    rig.declare("\n[checks.marker]\nexists = \"/home/jay/marker\"\n");
    let marker = rig.disk("web", "/home/jay/marker");
    std::fs::write(&marker, "").unwrap();
    rig.change(&["web"]);
    rig.on("web", &["ip", "addr", "add", &format!("{SECOND}/24"), "dev", "eth0"]);
    let there = format!("jay@{SECOND}");
    let deploying = rig.start(&["deploy", "web", "--yes", "--settle", "0", "--soak", "20s", "--ack-address", &there]);
    rig.wait_until("that it is watched", || deploying.said().contains("watching it for 20 s"));
    std::fs::remove_file(&marker).unwrap();
    deploying.ends(&rig).exits(6).says("it was rolled back");
    assert_eq!((at_second(&rig), rig.secret("web", "token")), (1, Some(rig.sandbox.value("first"))));
    rig.is_tidy("web");
}

#[test]
fn nix_a_lost_host_that_went_back_is_found_where_it_was() {
    let Some(rig) = Rig::try_deployed("remote: cut, --ack-address", &["web"]) else { return };
    let before = rig.state("web");
    rig.change(&["web"]);
    let words = ["deploy", "web", "--yes", "--acknowledge", "2", "--ack-address", NOBODY];
    let deploying = rig.hanging("web", "test hang", &words);
    rig.rig(&["cut", "web"]);
    rig.wait_until("the loss", || deploying.said().contains("the connection was lost"));
    rig.rig(&["mend", "web"]);
    rig.go_on("web");
    deploying.ends(&rig).exits(6).says("the deployer did not reconnect within 2 s");
    assert_eq!(rig.state("web"), before);
    rig.is_tidy("web");
}
