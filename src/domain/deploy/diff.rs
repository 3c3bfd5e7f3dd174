//! The actions and outcomes of a deploy, and how two systems differ: what needs a reboot, and which units change. Pure:
//! facts are collected elsewhere. The plan shows what is decided here, and the deploy then does it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a deploy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Build, and change nothing on the host.
    Build,
    /// Report what a switch would do. Nothing is installed.
    DryActivate,
    /// Activate, but leave the system profile and the boot default unchanged.
    Test,
    /// Make it the boot default, and activate nothing.
    Boot,
    /// Activate it and make it the boot default.
    Switch,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Build => "build",
            Action::DryActivate => "dry-activate",
            Action::Test => "test",
            Action::Boot => "boot",
            Action::Switch => "switch",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done as requested.
    Done,
    /// Done as requested, but takes effect at the next boot.
    PendingReboot,
    /// There was nothing to do.
    Nothing,
    Declined,
    /// It failed before anything was changed.
    Failed,
    /// It failed, and everything was restored.
    RolledBack,
    /// It failed, and so did the rollback.
    #[serde(rename = "person")]
    NeedsOperator,
    /// The connection was lost, and the host did not come back in time to report the outcome.
    Lost,
    /// The host is offline and was left out.
    Skipped,
}

impl Outcome {
    /// The outcome as shown to a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::PendingReboot => "pending reboot",
            Outcome::Nothing => "nothing to do",
            Outcome::Declined => "declined",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled back",
            Outcome::NeedsOperator => "needs a person",
            Outcome::Lost => "lost",
            Outcome::Skipped => "skipped",
        }
    }
}

/// The commands of checks, by name of the check. Each is a program and its arguments.
pub type Commands = BTreeMap<String, Vec<String>>;

/// Properties of a system, read from its store path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub version: String,
    /// The kernel version.
    pub kernel: String,
    /// The version of the init interface. A system with another one cannot be switched to live.
    pub interface: String,
    /// Components that must not change in a running system, with their current values.
    pub inhibitors: BTreeMap<String, String>,
    /// What is only loaded at boot: kernel, initrd and modules, each with its path.
    pub boots: BTreeMap<String, String>,
    /// Whether a unit of the system installs its secrets.
    pub has_unit: bool,
    /// Its systemd units, each with its path.
    pub units: BTreeMap<String, String>,
}

/// What a reboot is needed for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// Why the system cannot be activated live. Empty if it can.
    pub blocks: Vec<String>,
    /// What keeps its old version until the reboot, while the rest is activated.
    pub waits: Vec<String>,
}

impl Reboot {
    /// What a change from `running` to `target` needs, if `booted` was booted.
    pub fn between(running: Option<&Facts>, booted: Option<&Facts>, target: &Facts) -> Self {
        let mut reboot = Self::default();
        let Some(running) = running else {
            reboot.blocks.push("no system is running there".to_owned());
            return reboot;
        };
        if running.interface != target.interface {
            reboot.blocks.push(format!("another init interface ({} → {})", running.interface, target.interface));
        }
        for (component, is) in &target.inhibitors {
            match running.inhibitors.get(component) {
                Some(was) if was != is => reboot.blocks.push(format!("{component} changes ({was} → {is})")),
                _ => {}
            }
        }
        let booted = booted.unwrap_or(running);
        let waits =
            target.boots.iter().filter(|(part, place)| booted.boots.get(*part).is_some_and(|was| was != *place));
        reboot.waits.extend(waits.map(|(part, _)| match part.as_str() {
            "kernel" if booted.kernel != target.kernel => format!("kernel {} → {}", booted.kernel, target.kernel),
            part => part.to_owned(),
        }));
        reboot
    }
}

/// Units that differ between two systems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitChanges {
    pub added: Vec<String>,
    /// Units whose file differs; they may be restarted.
    pub changed: Vec<String>,
    /// Units that no longer exist; they are stopped.
    pub removed: Vec<String>,
}

impl UnitChanges {
    /// Compares the units of two systems.
    pub fn between(before: Option<&Facts>, after: &Facts) -> Self {
        let none = BTreeMap::new();
        let before = before.map_or(&none, |facts| &facts.units);
        let added = after.units.keys().filter(|unit| !before.contains_key(*unit)).cloned().collect();
        let changed = after.units.iter().filter(|(unit, place)| before.get(*unit).is_some_and(|was| was != *place));
        let removed = before.keys().filter(|unit| !after.units.contains_key(*unit)).cloned().collect();
        Self { added, changed: changed.map(|(unit, _)| unit.clone()).collect(), removed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_reboot_is_foreseen() {
        let facts = |interface: &str, bus: &str, kernel: &str| Facts {
            kernel: kernel.into(),
            interface: interface.into(),
            inhibitors: BTreeMap::from([("bus".to_owned(), bus.to_owned())]),
            boots: BTreeMap::from([("kernel".to_owned(), kernel.to_owned())]),
            ..Facts::default()
        };
        let now = facts("2", "dbus", "6.12");
        assert_eq!(Reboot::between(Some(&now), None, &now), Reboot::default());
        assert_eq!(Reboot::between(Some(&now), None, &facts("3", "dbus", "6.12")).blocks.len(), 1);
        assert_eq!(
            Reboot::between(Some(&now), None, &facts("2", "broker", "6.12")).blocks,
            ["bus changes (dbus → broker)"]
        );
        let kernel = Reboot::between(Some(&now), None, &facts("2", "dbus", "6.13"));
        assert_eq!((kernel.blocks.len(), kernel.waits), (0, vec!["kernel 6.12 → 6.13".to_owned()]));
        assert_eq!(Reboot::between(None, None, &now).blocks.len(), 1);
    }
}
