//! What systemd says of the units of a machine: whether it runs there at all, what has failed, what is active.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use crate::adapters::fs::root::Root;
use crate::adapters::process::{Held, Invocation};
use crate::domain::name::UnitName;
use crate::error::Result;

/// How long logind may take.
const LOGIND: Duration = Duration::from_secs(3);

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

/// The units that are failing now: failed, or waiting to be started again because they had. The same that
/// switch-to-configuration counts. None where there is no systemd to tell.
pub fn failing_units(root: &Root) -> Option<BTreeSet<String>> {
    if !runs(root) {
        return None;
    }
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

/// The units whose main process ended badly, of `systemctl show`: a paragraph each.
fn ended_badly(shown: &str) -> impl Iterator<Item = String> {
    shown.split("\n\n").filter_map(|unit| {
        let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value("Id").filter(|_| value("ExecMainStatus") != Some("0")).map(str::to_owned)
    })
}

/// Whether the machine is going down: no unit can be started then.
pub fn goes_down(root: &Root) -> bool {
    let asks = || Invocation::new("systemctl").arg("is-system-running").run();
    root.is_machine() && runs(root) && asks().is_ok_and(|output| output.stdout.starts_with(b"stopping"))
}

/// Keeps the machine from sleeping and, as far as it can be kept, from going down, as long as what is returned is kept.
/// None where nobody could be asked for it.
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

/// Whether a unit is active.
pub fn is_active(root: &Root, unit: &UnitName) -> Result<bool> {
    let output = systemctl(root).args(["is-active", "--", unit.as_str()]).run()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next() == Some("active"))
}

#[cfg(test)]
mod tests {
    use super::ended_badly;

    #[test]
    fn a_unit_that_is_started_again_after_a_good_end_is_not_failing() {
        let shown =
            "Id=a.service\nExecMainStatus=0\n\nExecMainStatus=1\nId=b.service\n\nId=c.service\nExecMainStatus=203\n";
        assert_eq!(ended_badly(shown).collect::<Vec<_>>(), ["b.service", "c.service"]);
    }
}
