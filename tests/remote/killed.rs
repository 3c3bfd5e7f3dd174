//! Processes killed on either side: the host completes or rolls back by itself, and the next client learns which.

use crate::harness::rig::{Rig, cannot_rig};

#[test]
fn nix_a_deployer_that_is_killed_leaves_a_host_that_goes_back_and_tells() {
    let Some(rig) = Rig::try_deployed("remote: killed deployer", &["web"]) else { return };
    let before = rig.state("web");
    rig.change(&["web"]);
    let deploying = rig.hanging("web", "test hang", &["deploy", "web", "--yes", "--acknowledge", "1"]);
    deploying.kill();
    deploying.ends(&rig).exits(137);
    rig.go_on("web");
    rig.wait_until_it_is_over("web");
    assert_eq!(rig.state("web"), before, "nobody came back: it went back");
    let run = rig.last_record("web")["run"].as_str().unwrap().to_owned();
    rig.sealift(&["deploy", "--attach", &run]).exits(6).says("the deployer did not reconnect within 1 s");
    rig.is_tidy("web");
    // The next deploy succeeds.
    rig.sealift(&["deploy", "--resume", "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("second")));
}

#[test]
fn nix_a_deployer_that_is_killed_at_any_step_leaves_the_old_or_the_new_state() {
    let Some(rig) = Rig::try_deployed("remote: deployer killed at each step", &["web"]) else { return };
    let before = rig.state("web");
    rig.change(&["web"]);
    for step in [
        "building the system",
        "copying the system",
        "opening and checking the secrets",
        "activating the system",
        "setting the profiles",
        "waiting to be reached",
    ] {
        let deploying = rig.start(&["deploy", "web", "--yes", "--acknowledge", "1"]);
        rig.wait_until(step, || deploying.said().contains(step));
        deploying.kill();
        deploying.ends(&rig);
        rig.wait_until_it_is_over("web");
        rig.is_tidy("web");
        let now = rig.state("web");
        let (first, second) = (rig.sandbox.value("first"), rig.sandbox.value("second"));
        assert!(
            now == before || (now.contains("system-3-link") && now.contains(&second) && !now.contains(&first)),
            "{step}: {now}"
        );
        if now != before {
            // It was acknowledged just before it was killed.
            rig.sealift(&["rollback", "web"]).exits(0);
            rig.on("web", &["nix-env", "-p", "/nix/var/nix/profiles/system", "--delete-generations", "3"]);
        }
        assert_eq!(rig.state("web"), before, "{step}");
    }
    // Local leftovers do not block it.
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("second")));
}

#[test]
fn nix_ctrl_c_leaves_the_host_alone_and_attach_joins_it_again() {
    let Some(rig) = Rig::try_deployed("remote: Ctrl-C and attach", &["web"]) else { return };
    let value = rig.change(&["web"]);
    let deploying = rig.hanging("web", "test hang", &["deploy", "web", "--yes"]);
    deploying.interrupt();
    let run = deploying.ends(&rig).exits(130).says("web finishes or goes back by itself");
    let name = run.stderr.split("sealift deploy web --attach ").nth(1).unwrap().split('`').next().unwrap();
    // A client that attaches in time acknowledges in place of the killed one.
    let attached = rig.start(&["deploy", "--attach", name]);
    rig.wait_until("what was told before", || attached.said().contains("activating the system"));
    rig.go_on("web");
    attached.ends(&rig).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(value));
    // Later it shows the events again, with the result.
    rig.sealift(&["deploy", "--attach", name]).exits(0).says("activating the system");
    rig.sealift(&["deploy", "web", "--attach", "20260101T000000Z-none"])
        .exits(1)
        .says("the host has no run 20260101T000000Z-none");
    rig.sealift(&["deploy", "--attach", "20260101T000000Z-none"]).exits(1).says("sealift deploy HOST --attach");
}

#[test]
fn nix_the_part_on_the_host_is_killed_at_each_step_and_a_boot_recovers() {
    if cannot_rig("remote: killed part on the host") {
        return;
    }
    // Whatever step was reached, nobody acknowledged it.
    for line in ["test hang", "boot hang bootloader"] {
        let rig = Rig::deployed(&["web"]);
        let before = rig.state("web");
        rig.change(&["web"]);
        let deploying = rig.hanging("web", line, &["deploy", "web", "--yes"]);
        let worker = rig.worker("web");
        rig.on("web", &["kill", "-9", &worker]);
        deploying.ends(&rig).exits(9).says("finishes it or goes back");
        assert!(rig.disk("web", "/var/lib/sealift/deploy/journal.json").exists());
        rig.go_on("web");
        rig.rig(&["reboot", "web"]);
        rig.is_tidy("web");
        assert_eq!(rig.state("web"), before, "{line}");
        assert_eq!(rig.last_record("web")["outcome"], "rolled-back", "{line}");
    }
}

#[test]
fn nix_of_two_deployers_one_is_told_who_the_other_is() {
    let Some(rig) = Rig::try_deployed("remote: two deployers", &["web"]) else { return };
    let value = rig.change(&["web"]);
    let first = rig.hanging("web", "test hang", &["deploy", "web", "--yes"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(1).says("another deploy is running on web").says("since");
    rig.sealift(&["rollback", "web"]).exits(1).says("another deploy is running");
    rig.sealift(&["status", "web"]).exits(0).says("a deploy is running: ");
    // The recovery at boot leaves it alone too: the switch itself may start it.
    rig.on("web", &["/run/current-system/etc/sealift/host", "host-run", "--recover"]);
    assert!(rig.disk("web", "/var/lib/sealift/deploy/journal.json").exists());
    rig.go_on("web");
    first.ends(&rig).exits(0);
    assert_eq!(rig.secret("web", "token"), Some(value));
}

#[test]
fn nix_a_host_that_loses_power_during_the_switch_recovers_when_it_boots() {
    let Some(rig) = Rig::try_deployed("remote: power failure", &["web"]) else { return };
    let before = rig.state("web");
    rig.change(&["web"]);
    let deploying = rig.hanging("web", "test hang", &["deploy", "web", "--yes", "--acknowledge", "1"]);
    rig.rig(&["off", "web"]);
    rig.wait_until("the loss", || deploying.said().contains("the connection was lost"));
    rig.rig(&["on", "web"]);
    rig.is_tidy("web");
    assert_eq!(rig.state("web"), before);
    deploying.ends(&rig).exits(6).says("it was interrupted");
}
