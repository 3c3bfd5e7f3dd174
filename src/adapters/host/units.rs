//! What systemd says about a machine's units: whether it runs at all, what has failed, what is active.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use crate::adapters::fs::root::Root;
use crate::adapters::process::{Held, Invocation};
use crate::domain::name::{UnitName, UnixName};
use crate::error::Result;

/// The time limit of logind.
const LOGIND: Duration = Duration::from_secs(3);

/// The time limit of a user's manager.
const MANAGER: Duration = Duration::from_secs(5);
/// Where the system installs user units and their drop-ins.
const FOR_USERS: [&str; 3] = ["/etc/systemd/user", "/usr/lib/systemd/user", "/run/current-system"];

/// Whether systemd runs the machine of this root.
pub fn runs(root: &Root) -> bool {
    root.exists("/run/systemd/system")
}

fn systemctl(root: &Root) -> Invocation {
    if root.is_machine() {
        Invocation::new("systemctl")
    } else {
        Invocation::new("chroot").arg(root.path()).arg("/run/current-system/sw/bin/systemctl")
    }
}

/// The units that are failing now: failed, or waiting to restart after a failure, as switch-to-configuration counts
/// them. `None` if there is no systemd.
pub fn failing_units(root: &Root) -> Option<BTreeSet<String>> {
    runs(root).then(|| listed_as_failing(root)).flatten()
}

/// Like `failing_units`, without checking that systemd runs.
pub fn listed_as_failing(root: &Root) -> Option<BTreeSet<String>> {
    let states = "--state=failed,auto-restart,auto-restart-queued";
    let call = systemctl(root).args(["list-units", states, "--plain", "--no-legend", "--no-pager", "--full"]);
    let text = call.read().ok()?;
    let mut failing = BTreeSet::new();
    let mut restarting = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        // Name, load state, state.
        let mut fields = line.split_whitespace();
        match (fields.next(), fields.nth(1)) {
            (Some(unit), Some("activating")) => restarting.push(unit.to_owned()),
            (Some(unit), _) => drop(failing.insert(unit.to_owned())),
            (None, _) => {}
        }
    }
    if !restarting.is_empty() {
        let call = systemctl(root).args(["show", "--property=Id,ExecMainStatus", "--"]).args(&restarting);
        failing.extend(ended_badly(&String::from_utf8_lossy(&call.read().ok()?)));
    }
    Some(failing)
}

/// The units in `systemctl show` output, one paragraph each, whose main process exited with an error.
fn ended_badly(shown: &str) -> impl Iterator<Item = String> {
    shown.split("\n\n").filter_map(|unit| {
        let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value("Id").filter(|_| value("ExecMainStatus") != Some("0")).map(str::to_owned)
    })
}

/// Whether at least one of these user units comes only from the system: neither it nor its drop-ins are where the user
/// can write. False if the user's manager does not answer.
pub fn are_the_systems(root: &Root, user: &str, units: &BTreeSet<String>) -> bool {
    let Ok(user) = user.parse::<UnixName>() else { return false };
    let machine = format!("--machine={user}@.host");
    let call = systemctl(root).args(["--user", &machine, "show", "--property=Id,FragmentPath,DropInPaths", "--"]);
    let shown = call.args(units).at_most(1 << 20).at_longest(MANAGER).run();
    let folders = FOR_USERS.iter().flat_map(|place| [Some((*place).to_owned()), root.resolved(place)]).flatten();
    let folders: Vec<String> = folders.map(|folder| format!("{folder}/")).collect();
    shown.is_ok_and(|shown| come_from(&String::from_utf8_lossy(&shown.stdout), &folders))
}

/// Whether some unit in `systemctl show` output has all of its files in these directories.
fn come_from(shown: &str, folders: &[String]) -> bool {
    let lies = |path: &str| folders.iter().any(|folder| path.starts_with(folder.as_str()) && !path.contains("/../"));
    shown.split("\n\n").any(|unit| {
        let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value("FragmentPath").is_some_and(lies) && value("DropInPaths").unwrap_or("").split_whitespace().all(lies)
    })
}

/// Whether the machine is shutting down: no unit can be started then.
pub fn goes_down(root: &Root) -> bool {
    is_in_state(root, &["stopping"])
}

/// Whether the machine is still booting. A switch then would not start units of targets that are not reached yet, and
/// failures of the boot would be blamed on the new system.
pub fn is_booting(root: &Root) -> bool {
    is_in_state(root, &["initializing", "starting"])
}

fn is_in_state(root: &Root, states: &[&str]) -> bool {
    let asks = || Invocation::new("systemctl").arg("is-system-running").run();
    let is = |said: &[u8]| states.iter().any(|state| said.starts_with(state.as_bytes()));
    root.is_machine() && runs(root) && asks().is_ok_and(|output| is(&output.stdout))
}

/// Prevents sleep and, as far as possible, shutdown, until the result is dropped. `None` if there is no logind to ask.
pub fn stay_awake(root: &Root) -> Result<Option<Held>> {
    if !root.is_machine() || !runs(root) || !root.exists("/run/systemd/seats") {
        return Ok(None);
    }
    let what = "--what=sleep:idle:handle-lid-switch:shutdown";
    let call = Invocation::new("systemd-inhibit").args([
        what,
        "--mode=block",
        "--who=sealift",
        "--why=a deploy is under way",
        "--",
        "cat",
    ]);
    call.held(Stdio::null(), LOGIND).map(Some)
}

pub fn is_active(root: &Root, unit: &UnitName) -> Result<bool> {
    let output = systemctl(root).args(["is-active", "--", unit.as_str()]).run()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next() == Some("active"))
}

#[cfg(test)]
mod tests {
    use super::{come_from, ended_badly};

    #[test]
    fn a_units_files_tell_whose_it_is() {
        let folders = ["/etc/systemd/user/".to_owned(), "/nix/store/x-user-units/".to_owned()];
        let comes = |fragment: &str, dropins: &str| {
            come_from(&format!("Id=a.service\nFragmentPath={fragment}\nDropInPaths={dropins}\n"), &folders)
        };
        let (own, its) = ("/home/ann/.config/systemd/user", "/etc/systemd/user");
        assert!(comes(&format!("{its}/a.service"), ""));
        assert!(comes(&format!("{its}/a.service"), "/nix/store/x-user-units/a.service.d/overrides.conf"));
        assert!(!comes(&format!("{own}/a.service"), "") && !comes("", ""));
        assert!(!comes(&format!("{its}/a.service"), &format!("{its}/a.service.d/a.conf {own}/a.service.d/b.conf")));
        assert!(!comes("/nix/store/y/a.service", "") && !comes(&format!("{its}/../../../home/ann/a.service"), ""));
        assert!(!come_from("", &folders));
    }

    #[test]
    fn a_unit_that_is_started_again_after_a_good_end_is_not_failing() {
        let shown =
            "Id=a.service\nExecMainStatus=0\n\nExecMainStatus=1\nId=b.service\n\nId=c.service\nExecMainStatus=203\n";
        assert_eq!(ended_badly(shown).collect::<Vec<_>>(), ["b.service", "c.service"]);
    }
}
