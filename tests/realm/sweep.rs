//! The power is cut at every step of a deploy. The next boot has the old system or the new one with everything that
//! belongs to it, never a mix, and the interrupted run is completed or rolled back within that boot.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::harness::not_run;
use crate::harness::realm::{APP, Realm, cannot_realm, watch};
use crate::harness::rig::Kind;

/// The steps recorded in a journal after something was changed.
const STEPS: [&str; 5] = ["activate", "verify", "profile", "boot", "acknowledge"];

/// When the power is cut.
enum At {
    /// When a system stops at `MARK.POINT`.
    Point(&'static str),
    /// When the journal has reached this step, or a later one: the last ones take only a moment.
    Step(&'static str),
    /// When the journal contains this.
    Journal(&'static str),
    /// When this symlink has changed.
    Link(&'static str),
    /// When this file exists.
    File(&'static str),
}

/// Which system may run after it.
#[derive(Clone, Copy)]
enum Then {
    /// Only the previous one.
    Old,
    /// Either one, completely.
    Either,
}

struct Cut(At, Then);

/// Cuts the power of one machine at each of these points, during one deploy of `second` with `more` to all of them.
fn sweep(cuts: &[Cut], more: &str, first_contact: bool) {
    let names: Vec<String> = (1..=cuts.len()).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let realm = if first_contact { Realm::up(&names) } else { Realm::deployed(&names) };
    let before: Vec<String> = names.iter().map(|name| realm.state(name)).collect();
    if !first_contact {
        realm.changes(&names, more);
    }
    let new = if first_contact { "first" } else { "second" };
    let watchers: Vec<_> = names
        .iter()
        .zip(cuts)
        .map(|(name, Cut(at, then))| {
            let inside = |path: &str| -> (PathBuf, PathBuf) {
                let path = realm.inside(name, path);
                (path.parent().expect("a folder").to_owned(), path)
            };
            let pid = realm.first_process(name);
            if matches!((at, then), (At::Step(_) | At::Link(_) | At::File(_), Then::Old)) {
                // Stops it here, so that it cannot finish before the power is off.
                realm.hold(name, &format!("{new}.bootloader"));
            }
            let (folder, is): (PathBuf, Box<dyn Fn() -> bool + Send>) = match at {
                At::Point(point) => {
                    realm.hold(name, point);
                    let (folder, path) = inside(&format!("/var/realm/at/{point}"));
                    (folder, Box::new(move || path.exists()))
                }
                At::Step(_) | At::Journal(_) => {
                    realm.shell(name, "mkdir -p /var/lib/sealift/deploy");
                    let (folder, path) = inside("/var/lib/sealift/deploy/journal.json");
                    let words = at.journal();
                    let begun = AtomicBool::new(false);
                    let is = move || match std::fs::read_to_string(&path) {
                        Ok(text) => {
                            begun.store(true, Relaxed);
                            words.iter().any(|words| text.contains(words))
                        }
                        Err(_) => begun.load(Relaxed),
                    };
                    (folder, Box::new(is))
                }
                At::Link(link) => {
                    let (folder, path) = inside(link);
                    let old = std::fs::read_link(&path).ok();
                    (folder, Box::new(move || std::fs::read_link(&path).ok() != old))
                }
                At::File(file) => {
                    let (folder, path) = inside(file);
                    (folder, Box::new(move || path.exists()))
                }
            };
            std::thread::spawn(move || {
                assert!(watch(&folder, is.as_ref(), Duration::from_secs(150)), "it does not come");
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("the power is cut");
            })
        })
        .collect();
    let deploying = realm.start(&["deploy", "--all", "--yes", "--jobs", "12", "--acknowledge", "120", "--json"]);
    for (watcher, Cut(at, _)) in watchers.into_iter().zip(cuts) {
        assert!(watcher.join().is_ok(), "{} was not reached", at.name());
    }
    for name in &names {
        realm.cut_power(name);
        realm.rig(&["on", name]);
        realm.shell(name, "rm -f /var/realm/hold/*");
    }
    let run = deploying.ends(&realm);
    for ((name, before), Cut(at, then)) in names.iter().zip(before).zip(cuts) {
        let at = at.name();
        if first_contact && realm.shell(name, "cat /run/current-system/realm/mark") == "blank\n" {
            // The previous system knows nothing of sealift, so the next deploy cleans up. The profile may be ahead.
            let now = realm.state(name);
            assert!(now.starts_with("runs blank\n") && now.ends_with("boots blank\n"), "{at}: {now}");
            realm.sealift(&["deploy", name, "--yes"]).exits(0);
            realm.is_in_order(name, "first", 2);
            continue;
        }
        realm.is_tidy(name);
        let now = realm.state(name);
        let is_new = now == realm.order(new, if first_contact { 2 } else { 3 });
        match then {
            Then::Old => assert_eq!(now, before, "{at}"),
            Then::Either => assert!(now == before || is_new, "{at}: {now}"),
        }
        // The deployer was given the right result.
        let told = run.results().into_iter().find(|result| result["host"] == **name);
        let told = told.unwrap_or_else(|| panic!("{at}: nothing of {name} in: {}", run.text()));
        let outcome = if is_new { "done" } else { "rolled-back" };
        assert_eq!(told["outcome"], outcome, "{at}: {told}");
    }
}

impl At {
    /// The journal's expected content at this point.
    fn journal(&self) -> Vec<String> {
        match self {
            At::Step(step) => {
                let from = STEPS.iter().position(|other| other == step).expect("a step");
                STEPS[from..].iter().map(|step| format!("\"reached\": \"{step}\"")).collect()
            }
            At::Journal(words) => vec![(*words).to_owned()],
            At::Point(_) | At::Link(_) | At::File(_) => Vec::new(),
        }
    }

    fn name(&self) -> String {
        match self {
            At::Step(text) | At::Point(text) | At::Journal(text) | At::Link(text) | At::File(text) => {
                (*text).to_owned()
            }
        }
    }
}

#[test]
fn nix_power_is_cut_while_a_system_is_activated() {
    if cannot_realm("realm: power cuts during activation") {
        return;
    }
    let cuts = [
        Cut(At::Step("activate"), Then::Old),
        Cut(At::Point("second.check"), Then::Old),
        Cut(At::Point("second.activate"), Then::Old),
        Cut(At::Point("second.etc"), Then::Old),
        Cut(At::Point("second.activated"), Then::Old),
        Cut(At::Link("/run/sealift"), Then::Old),
        Cut(At::Point("second.stop"), Then::Old),
        Cut(At::Point("second.start"), Then::Old),
    ];
    sweep(&cuts, "", false);
}

#[test]
fn nix_power_is_cut_while_a_system_becomes_what_boots() {
    if cannot_realm("realm: power cuts while the boot default is set") {
        return;
    }
    let cuts = [
        Cut(At::Step("verify"), Then::Old),
        Cut(At::Step("profile"), Then::Old),
        Cut(At::Link("/nix/var/nix/profiles/system"), Then::Old),
        Cut(At::Step("boot"), Then::Old),
        Cut(At::Point("second.bootloader"), Then::Old),
        Cut(At::Point("second.menu"), Then::Old),
        Cut(At::Point("second.default"), Then::Old),
        // The acknowledgement may have arrived already.
        Cut(At::Step("acknowledge"), Then::Either),
    ];
    sweep(&cuts, "", false);
}

#[test]
fn nix_power_is_cut_on_the_way_back() {
    if cannot_realm("realm: power cuts on the way back") {
        return;
    }
    let cuts = [
        Cut(At::Journal("\"back\": true"), Then::Old),
        Cut(At::Point("first.activate"), Then::Old),
        Cut(At::Point("first.etc"), Then::Old),
        Cut(At::Point("first.activated"), Then::Old),
        Cut(At::Point("first.start"), Then::Old),
        Cut(At::Point("first.bootloader"), Then::Old),
        Cut(At::Point("first.menu"), Then::Old),
        Cut(At::Point("first.default"), Then::Old),
    ];
    sweep(&cuts, "bootloader = \"exit 1\";", false);
}

#[test]
fn nix_power_is_cut_during_a_first_deploy() {
    if cannot_realm("realm: power cuts during a first deploy") {
        return;
    }
    let cuts = [
        Cut(At::Point("first.activate"), Then::Old),
        Cut(At::Point("first.activated"), Then::Old),
        Cut(At::File("/run/sealift"), Then::Old),
        Cut(At::Point("first.bootloader"), Then::Old),
        Cut(At::Point("first.default"), Then::Old),
    ];
    sweep(&cuts, APP, true);
}

#[test]
fn nix_power_is_cut_with_writes_under_way() {
    let test = "realm: power cuts of machines with a disk of their own";
    if cannot_realm(test) {
        return;
    }
    if std::env::var_os("SEALIFT_REALM_QEMU").is_none() {
        return not_run(test, "it takes ten minutes: SEALIFT_REALM_QEMU=1 asks for it");
    }
    // A credential of a service with DynamicUser needs a manager in its own mount namespace.
    let credential = "services.cred = {
      text = ''
        [Service]
        DynamicUser=yes
        RuntimeDirectory=cred
        ExecStart=/bin/bash -c 'cat $CREDENTIALS_DIRECTORY/token > /run/cred/seen; exec sleep infinity'
        Environment=PATH=/usr/bin
      '';
      uses = \"credential\";
    };";
    let realm = Realm::up_of(Kind::Qemu, &["web"]);
    let policy = realm.sandbox.read("recipients.toml");
    let restart = "restart = [\"app.service\", \"cred.service\"]";
    realm.sandbox.write("recipients.toml", policy.replacen("restart = [\"app.service\"]", restart, 1));
    realm.has("web", "first", &format!("{APP}{credential}"));
    realm.commit();
    realm.sealift(&["deploy", "web", "--yes", "--acknowledge", "300"]).exits(0);
    realm.is_in_order("web", "first", 2);
    assert_eq!(realm.shell("web", "cat /run/cred/seen"), realm.sandbox.value("first"));
    let before = realm.state("web");
    realm.changes(&["web"], credential);
    for point in ["second.activated", "second.menu", "second.default"] {
        let deploying = realm.stopped("web", point, &["deploy", "web", "--yes", "--acknowledge", "300"]);
        realm.cut_power("web");
        realm.boot("web");
        // The stop itself may be among the lost writes.
        realm.shell("web", &format!("rm -f /var/realm/hold/{point}"));
        deploying.ends(&realm).exits(6);
        realm.is_tidy("web");
        assert_eq!(realm.state("web"), before, "{point}");
        assert_eq!(realm.shell("web", "cat /run/cred/seen"), realm.sandbox.value("first"));
    }
}
