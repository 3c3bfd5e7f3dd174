//! What a deploy comes to: which secrets change, what a reboot is needed for, and how an attempt to switch is judged.
//! Pure: the facts are read elsewhere, and what is decided here is what the plan shows and what is then done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::name::UnitName;

/// How far a deploy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Build, and change nothing on the host.
    Build,
    /// Say what a switch would do. Nothing is installed.
    DryActivate,
    /// Activate, but keep the profile and what boots next.
    Test,
    /// Make it what boots next, and activate nothing.
    Boot,
    /// All of it.
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
    /// As asked for.
    Done,
    /// As asked for, from the next boot on.
    PendingReboot,
    /// There was nothing to do.
    Nothing,
    /// The person declined.
    Declined,
    /// It failed before anything was changed.
    Failed,
    /// It failed, and everything is as it was.
    RolledBack,
    /// It failed, and the way back failed too.
    Person,
    /// The connection was lost, and the host did not come back in time to say how it ended.
    Lost,
    /// It is offline, and was left out.
    Skipped,
}

impl Outcome {
    /// As a person reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::PendingReboot => "pending reboot",
            Outcome::Nothing => "nothing to do",
            Outcome::Declined => "declined",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled back",
            Outcome::Person => "needs a person",
            Outcome::Lost => "lost",
            Outcome::Skipped => "skipped",
        }
    }
}

/// One secret, or one template, that a system carries, as far as it is known without a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Carried {
    pub name: String,
    /// The serial of its value; none where the file has no seal.
    pub serial: Option<u64>,
    /// The SHA-256 of the sealed file, hexadecimal.
    pub digest: String,
    /// Owner, group, mode and place, as one text.
    pub delivery: String,
    /// Units that are restarted or reloaded when its bytes change.
    pub units: Vec<String>,
    /// Whether it is put together from others, and is no secret of the policy.
    pub template: bool,
    /// Who can open this value, or once could, by its seal: fingerprints of their keys, hexadecimal.
    pub known_to: BTreeSet<String>,
}

/// What becomes of one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It has another value.
    Changed,
    /// It has an older value than now.
    Older,
    /// The same value, sealed to other readers.
    Resealed,
    /// The same file, with another owner, mode or place.
    Reowned,
    /// It goes.
    Removed,
}

/// A secret that does not stay as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretChange {
    pub name: String,
    pub change: Change,
    /// The serial of the value that is there now.
    pub from: Option<u64>,
    /// The serial of the value that comes.
    pub to: Option<u64>,
    /// Hosts that were removed, and know the older of the two values.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub known_to: BTreeSet<String>,
}

impl SecretChange {
    /// Who should not know the older value, and does.
    pub fn known(&self) -> String {
        let names: Vec<&str> = self.known_to.iter().map(String::as_str).collect();
        if names.is_empty() { String::new() } else { format!("; known to {}, removed since", names.join(", ")) }
    }
}

/// What becomes of the secrets between two systems, by name. `removed`: the hosts that were removed, by the fingerprints of
/// their keys.
pub fn secret_changes(before: &[Carried], after: &[Carried], removed: &BTreeMap<String, String>) -> Vec<SecretChange> {
    let know = |value: &Carried| value.known_to.iter().filter_map(|key| removed.get(key).cloned()).collect();
    let old: BTreeMap<_, _> = before.iter().map(|secret| (secret.name.as_str(), secret)).collect();
    let new: BTreeSet<_> = after.iter().map(|secret| secret.name.as_str()).collect();
    let mut changes: Vec<_> = after
        .iter()
        .filter_map(|secret| {
            let former = old.get(secret.name.as_str());
            let change = |change, from| {
                let older = if change == Change::Older { Some(secret) } else { former.copied() };
                let known_to = older.map(know).unwrap_or_default();
                Some(SecretChange { name: secret.name.clone(), change, from, to: secret.serial, known_to })
            };
            let Some(former) = former else { return change(Change::Added, None) };
            match (former.digest == secret.digest, former.serial, secret.serial) {
                (true, ..) if former.delivery == secret.delivery => None,
                (true, from, _) => change(Change::Reowned, from),
                (false, Some(from), Some(to)) if from == to => change(Change::Resealed, Some(from)),
                (false, Some(from), Some(to)) if from > to => change(Change::Older, Some(from)),
                (false, from, _) => change(Change::Changed, from),
            }
        })
        .collect();
    let gone = before.iter().filter(|secret| !new.contains(secret.name.as_str()));
    changes.extend(gone.map(|secret| SecretChange {
        name: secret.name.clone(),
        change: Change::Removed,
        from: secret.serial,
        to: None,
        known_to: know(secret),
    }));
    changes.sort();
    changes
}

/// The units that are restarted or reloaded because the bytes of a secret may change.
pub fn secret_units(changes: &[SecretChange], after: &[Carried]) -> BTreeSet<String> {
    let new_bytes = |secret: &&Carried| {
        changes.iter().any(|change| {
            change.name == secret.name && matches!(change.change, Change::Added | Change::Changed | Change::Older)
        })
    };
    after.iter().filter(new_bytes).flat_map(|secret| secret.units.iter().cloned()).collect()
}

/// The commands of checks, each as a program and its arguments, by the names of the checks.
pub type Commands = BTreeMap<String, Vec<String>>;

/// What a system says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub version: String,
    /// The version of its kernel.
    pub kernel: String,
    /// Which interface its init has. Another one cannot be switched to live.
    pub interface: String,
    /// Components that must not change under a running system, and what each is.
    pub inhibitors: BTreeMap<String, String>,
    /// What only a boot loads: kernel, initrd and modules, each with where it is.
    pub boots: BTreeMap<String, String>,
    /// Whether it installs its own secrets, by a unit.
    pub has_unit: bool,
    /// Its systemd units, and where each is.
    pub units: BTreeMap<String, String>,
}

/// What a reboot is needed for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// Why the system cannot be activated live. Empty: it can.
    pub blocks: Vec<String>,
    /// What stays as it is until the reboot, while the rest is activated.
    pub waits: Vec<String>,
}

impl Reboot {
    /// What it takes to run `target` where `running` runs and `booted` was booted.
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
    /// Those whose file is another; they may be restarted.
    pub changed: Vec<String>,
    /// Those that go; they are stopped.
    pub removed: Vec<String>,
}

impl UnitChanges {
    /// From the units of one system to those of another.
    pub fn between(before: Option<&Facts>, after: &Facts) -> Self {
        let none = BTreeMap::new();
        let before = before.map_or(&none, |facts| &facts.units);
        let added = after.units.keys().filter(|unit| !before.contains_key(*unit)).cloned().collect();
        let changed = after.units.iter().filter(|(unit, place)| before.get(*unit).is_some_and(|was| was != *place));
        let removed = before.keys().filter(|unit| !after.units.contains_key(*unit)).cloned().collect();
        Self { added, changed: changed.map(|(unit, _)| unit.clone()).collect(), removed }
    }
}

/// How an attempt to activate a system ended, as its switch-to-configuration tells by its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switched {
    /// Well.
    Done,
    /// Another switch holds the lock; nothing was done.
    Busy,
    /// Its init cannot be switched to live; nothing was done.
    NeedsReboot,
    /// It is active, and some units failed.
    UnitsFailed(Failing),
    /// It failed, and how.
    Failed(String),
}

/// What failed in a switch that ended with exit code 4, as switch-to-configuration itself names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// Units of the machine. One that had failed before may be among them: a switch starts it again.
    units: BTreeSet<String>,
    /// Users whose own units failed. Nobody knows how those were before.
    users: BTreeSet<String>,
    /// Users whose manager could not be reached: it starts, with the new units, or ends. No unit of theirs failed.
    unreached: BTreeSet<String>,
}

/// What a switch-to-configuration says that tells how it ended.
#[derive(Debug, Default)]
pub struct Said {
    busy: bool,
    unchecked: bool,
    inactive: bool,
    /// Whether a unit of the user who is at hand failed.
    of_user: bool,
    /// Whether a user was gone before the turn came, which ends it in the middle.
    user_gone: bool,
    /// Whether it goes on with what an earlier run left.
    goes_on: bool,
    failing: Failing,
}

/// Why nothing could be asked of a user's manager that is about to end.
const MANAGER_ENDS: [&str; 3] = ["Connection is closed", "is destructive", "disconnected from message bus"];

impl Said {
    /// Hears a line. Its words are those of nixpkgs' switch-to-configuration-ng, and of the program in Perl before it.
    pub fn line(&mut self, line: &str) {
        self.busy |= line.contains("Could not acquire lock");
        self.unchecked |= line.contains("Pre-switch check");
        self.inactive |= line == "Failed to run activate script";
        if let Some(units) = line.strip_prefix("warning: the following units failed: ") {
            self.failing.units.extend(units.split(", ").map(str::to_owned));
        } else if line.starts_with("reloading user units for ") {
            self.of_user = false;
        } else if line.starts_with("warning: the following user units failed: ") {
            self.of_user = true;
        } else if let Some(user) =
            line.strip_prefix("warning: user activation for ").and_then(|rest| rest.strip_suffix(" failed"))
        {
            let failed = std::mem::take(&mut self.of_user);
            let users = if failed { &mut self.failing.users } else { &mut self.failing.unreached };
            users.insert(user.to_owned());
        } else if let Some((verb, rest)) = line.strip_prefix("Failed to ").and_then(|rest| rest.split_once(' '))
            && ["start", "restart", "reload", "stop"].contains(&verb)
        {
            // A job that failed, or one that could not even be asked for, with the reason.
            let (unit, reason) = rest.split_once(": ").unwrap_or((rest, ""));
            // The last is a user's too, though its line does not say so.
            if unit.starts_with("user unit ") || unit == "nixos-activation.service" {
                self.of_user |= !MANAGER_ENDS.iter().any(|end| reason.contains(end));
            } else if unit.parse::<UnitName>().is_ok() {
                self.failing.units.insert(unit.to_owned());
            }
        }
        let lost = ["Error: Failed to get GID for ", "Error: Failed to get runtime directory for "];
        self.user_gone |= lost.iter().any(|lost| line.starts_with(lost));
    }

    /// Whether it ended in the middle because a user logged out just then. Run again it goes on, by lists that it keeps; what
    /// it said of failures still counts.
    pub fn goes_on(&mut self, code: Option<i32>) -> bool {
        let again = std::mem::take(&mut self.user_gone) && code == Some(1);
        if again {
            self.goes_on = true;
            self.inactive = false;
        }
        again
    }

    /// How it ended, with this exit code, or otherwise, which is then told.
    pub fn ended(self, code: Option<i32>, ended: &str) -> Switched {
        match code {
            Some(0) if !self.goes_on || self.failing == Failing::default() => Switched::Done,
            Some(11) => Switched::Busy,
            _ if self.busy => Switched::Busy,
            Some(100) => Switched::NeedsReboot,
            // A unit that fails afterwards hides the code of the activation.
            Some(0 | 4) if !self.inactive => Switched::UnitsFailed(self.failing),
            Some(0 | 2 | 4) => Switched::Failed("its activation script failed".to_owned()),
            Some(1) if self.unchecked => Switched::Failed("its pre-switch checks failed (exit code 1)".to_owned()),
            _ => Switched::Failed(format!("switch-to-configuration: {ended}")),
        }
    }
}

impl Switched {
    /// The units of the machine that failed, and were not failing before.
    pub fn newly_failed<'a>(&'a self, before: Option<&'a BTreeSet<String>>) -> impl Iterator<Item = &'a str> {
        let units = match self {
            Switched::UnitsFailed(failing) => Some(&failing.units),
            _ => None,
        };
        let new = move |unit: &&String| !before.is_some_and(|before| before.contains(*unit));
        units.into_iter().flatten().filter(new).map(String::as_str)
    }

    /// Whether the system counts as active. `before`: the units that were failing before it was activated; none where nobody
    /// can tell. What failed and is not among them is new, and so is what nobody named. What people should know of it even so.
    pub fn judge(&self, before: Option<&BTreeSet<String>>) -> Result<Vec<String>, String> {
        let Failing { units, users, unreached } = match self {
            Switched::Done => return Ok(Vec::new()),
            Switched::Busy => return Err("another switch is running on the host".to_owned()),
            Switched::NeedsReboot => {
                return Err("it cannot be activated without a reboot (exit code 100)".to_owned());
            }
            Switched::Failed(why) => return Err(why.clone()),
            Switched::UnitsFailed(failing) => failing,
        };
        let mut notes = Vec::new();
        if !units.is_empty() {
            notes.push("some units are failing, as they were before".to_owned());
        }
        notes.extend(
            unreached.iter().map(|user| format!("the units of {user}, who logged in or out, were not reloaded")),
        );
        let people = || users.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let new: Vec<_> = self.newly_failed(before).collect();
        match (new.is_empty(), users.is_empty(), notes.is_empty()) {
            (true, true, false) => Ok(notes),
            (true, true, true) => Err("units failed (exit code 4)".to_owned()),
            (false, true, _) => Err(format!("units failed: {}", new.join(", "))),
            (true, false, _) => Err(format!("user units failed, of: {}", people())),
            (false, false, _) => Err(format!("units failed: {}; and user units of: {}", new.join(", "), people())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(name: &str, serial: u64, digest: u8, delivery: &str) -> Carried {
        let units = vec![format!("{name}.service")];
        Carried {
            name: name.into(),
            serial: Some(serial),
            digest: digest.to_string(),
            delivery: delivery.into(),
            units,
            template: false,
            known_to: [format!("{digest}")].into(),
        }
    }

    #[test]
    fn every_kind_of_change_is_told_apart() {
        let before = [
            carried("same", 1, 1, ""),
            carried("new", 1, 1, ""),
            carried("old", 3, 1, ""),
            carried("key", 1, 1, ""),
            carried("own", 1, 1, ""),
            carried("gone", 2, 1, ""),
        ];
        let after = [
            carried("same", 1, 1, ""),
            carried("new", 2, 2, ""),
            carried("old", 2, 2, ""),
            carried("key", 1, 2, ""),
            carried("own", 1, 1, "x"),
            carried("more", 1, 1, ""),
        ];
        let removed = BTreeMap::from([("1".to_owned(), "gone".to_owned()), ("2".to_owned(), "lost".to_owned())]);
        let changes = secret_changes(&before, &after, &removed);
        let known = |name: &str| {
            let change = changes.iter().find(|change| change.name == name);
            change.and_then(|change| change.known_to.first()).map(String::as_str)
        };
        assert_eq!((known("new"), known("old")), (Some("gone"), Some("lost")), "it is the older value that is known");
        let told: Vec<_> =
            changes.iter().map(|change| (change.name.as_str(), change.change, change.from, change.to)).collect();
        assert_eq!(
            told,
            [
                ("gone", Change::Removed, Some(2), None),
                ("key", Change::Resealed, Some(1), Some(1)),
                ("more", Change::Added, None, Some(1)),
                ("new", Change::Changed, Some(1), Some(2)),
                ("old", Change::Older, Some(3), Some(2)),
                ("own", Change::Reowned, Some(1), Some(1)),
            ]
        );
        let units: Vec<_> = secret_units(&changes, &after).into_iter().collect();
        assert_eq!(units, ["more.service", "new.service", "old.service"]);
    }

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

    fn ended(code: i32, lines: &[&str]) -> Switched {
        let mut said = Said::default();
        lines.iter().for_each(|line| said.line(line));
        said.ended(Some(code), "ended")
    }

    #[test]
    fn failing_units_count_only_if_they_are_new() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let failing = ended(4, &["warning: the following units failed: a.service, b@1.service", "x a.service"]);
        assert!(failing.judge(Some(&names(&["a.service", "b@1.service"]))).is_ok());
        let why = |switched: &Switched, before: &[&str]| switched.judge(Some(&names(before))).unwrap_err();
        assert_eq!(why(&failing, &["a.service"]), "units failed: b@1.service");
        assert!(failing.judge(None).is_err(), "nobody can tell how it was before");
        // A job that failed is named by its own line, with or without a reason.
        for line in ["Failed to restart a.service", "Failed to reload a.service: Unit a.service not found."] {
            assert_eq!(why(&ended(4, &[line]), &["b.service"]), "units failed: a.service");
        }
        // Whose exit code 4 nobody explains has failed.
        assert_eq!(why(&ended(4, &["x"]), &["a.service"]), "units failed (exit code 4)");
        // What fails after the activation hides that code.
        let hidden = ["Failed to run activate script", "warning: the following units failed: a.service"];
        assert_eq!(why(&ended(4, &hidden), &["a.service"]), "its activation script failed");
        let user = "warning: user activation for jay failed";
        for of_jay in ["Failed to restart user unit b.service", "warning: the following user units failed: b.service"] {
            let units = ["reloading user units for ann...", of_jay, "reloading user units for jay...", of_jay, user];
            assert_eq!(why(&ended(4, &units), &[]), "user units failed, of: jay");
        }
        // Whose manager starts or ends in that moment has no unit that failed.
        let leaving = ["reloading user units for jay...", "Error: Failed to list systemd units", user];
        let notes = ended(4, &leaving).judge(Some(&names(&[]))).unwrap();
        assert_eq!(notes, ["the units of jay, who logged in or out, were not reloaded"]);
        // One that ends takes no jobs any more.
        for asked in [
            "Failed to restart nixos-activation.service: Connection is closed",
            "Failed to start user unit b.service: Transaction for b.service/start is destructive (exit.target has 'start' job queued, but 'stop' is included in transaction).",
        ] {
            let ending = [leaving[0], asked, "Error: Failed to remove jobs token", user];
            assert_eq!(ended(4, &ending).judge(Some(&names(&[]))).unwrap(), notes);
        }
        let unknown = [leaving[0], "Failed to restart nixos-activation.service: Unit not found.", user];
        assert_eq!(why(&ended(4, &unknown), &[]), "user units failed, of: jay");
        let next =
            [leaving[0], "Failed to start user unit b.service", user, "reloading user units for ann...", leaving[1]];
        let next = ended(4, &[&next[..], &["warning: user activation for ann failed"]].concat());
        assert_eq!(why(&next, &[]), "user units failed, of: jay");
        let both =
            ended(4, &["Failed to start user unit b.service", user, "warning: the following units failed: a.service"]);
        assert!(both.judge(Some(&names(&["a.service"]))).is_err(), "those of a user are new");
    }

    #[test]
    fn a_switch_that_a_user_ended_goes_on() {
        let ends = |code: i32, lines: &[&str], next: i32, more: &[&str]| {
            let mut said = Said::default();
            lines.iter().for_each(|line| said.line(line));
            let again = said.goes_on(Some(code));
            more.iter().for_each(|line| said.line(line));
            assert!(!said.goes_on(Some(next)), "once");
            (again, said.ended(Some(next), "ended"))
        };
        let gone = "Error: Failed to get GID for ann";
        assert_eq!(ends(1, &["reloading user units for jay...", gone], 0, &[]), (true, Switched::Done));
        let runtime = "Error: Failed to get runtime directory for ann";
        assert_eq!(ends(1, &["Failed to run activate script", runtime], 0, &[]), (true, Switched::Done));
        assert!(!ends(1, &["Error: Failed to list systemd units"], 0, &[]).0);
        assert!(!ends(4, &[gone], 0, &[]).0);
        // What failed before counts.
        let failed = ["Failed to start user unit b.service", "warning: user activation for jay failed", gone];
        let (again, switched) = ends(1, &failed, 0, &[]);
        assert_eq!((again, switched.judge(None).unwrap_err()), (true, "user units failed, of: jay".to_owned()));
    }

    #[test]
    fn how_it_ended_is_told_by_its_code_and_its_words() {
        assert_eq!(ended(1, &["x", "Could not acquire lock"]), Switched::Busy);
        assert_eq!(ended(11, &[]), Switched::Busy);
        assert_eq!(ended(100, &[]), Switched::NeedsReboot);
        assert_eq!(ended(0, &["warning: the following units failed: a.service"]), Switched::Done);
        assert!(ended(1, &["Pre-switch check 'x' failed"]).judge(None).unwrap_err().contains("pre-switch"));
        assert!(matches!(Said::default().ended(None, "ended by signal 9"), Switched::Failed(_)));
    }
}
