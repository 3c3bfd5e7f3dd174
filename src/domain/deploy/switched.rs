//! How an attempt to activate a system ended, from the output and exit code of its switch-to-configuration.

use std::collections::{BTreeMap, BTreeSet};

/// The result of an attempt to activate a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switched {
    Done,
    /// Another switch holds the lock; nothing was done.
    Busy,
    /// Its init cannot be switched to live; nothing was done.
    NeedsReboot,
    /// It is active, and some units failed.
    UnitsFailed(Failing),
    /// It failed, for this reason.
    Failed(String),
}

/// What failed in a switch that ended with exit code 4, as switch-to-configuration reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// System units. One that had failed before may be among them, because a switch starts it again.
    units: BTreeSet<String>,
    /// Users whose own units failed, with those units. Their state before the switch is unknown.
    users: BTreeMap<String, BTreeSet<String>>,
    /// Likewise, for units that the users themselves can change.
    own: BTreeMap<String, BTreeSet<String>>,
    /// Users whose manager could not be reached: it is starting, with the new units, or stopping. None of their units
    /// failed.
    unreached: BTreeSet<String>,
}

/// The relevant output of switch-to-configuration.
#[derive(Debug, Default)]
pub struct Said {
    busy: bool,
    unchecked: bool,
    /// Whether it has changed anything. Before that, it takes the lock and runs its checks.
    begun: bool,
    inactive: bool,
    /// Whether it has reached the users' managers. Each of them can make it print any line.
    at_users: bool,
    /// The failed units of the current user.
    of_user: BTreeSet<String>,
    /// Whether a user had logged out before it reached that user, which makes it stop midway.
    user_gone: bool,
    /// Whether this run continues an earlier one.
    goes_on: bool,
    failing: Failing,
}

/// Reasons given when a user's manager takes no jobs because it is stopping.
const MANAGER_ENDS: [&str; 3] = ["Connection is closed", "is destructive", "disconnected from message bus"];

impl Said {
    /// Reads a line of output, as printed by nixpkgs' switch-to-configuration-ng or by the older program in Perl.
    pub fn line(&mut self, line: &str) {
        if !self.begun {
            let rest = line.strip_prefix("Could not acquire lock");
            // The program in Perl appends the reason.
            self.busy |= rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" - "));
            self.unchecked |= line.starts_with("Pre-switch check");
        }
        self.begun |= ["activating the configuration...", "Failed to install bootloader"].contains(&line)
            || line.starts_with("stopping the following units: ");
        self.inactive |= !self.at_users && line == "Failed to run activate script";
        if let Some(units) = line.strip_prefix("warning: the following units failed: ") {
            self.failing.units.extend(named(units));
        } else if line == "restarting sysinit-reactivation.target" {
            // The users' managers are done, and may have forged lines on system units. The real ones come after this
            // line.
            self.failing.units.clear();
        } else if line.starts_with("reloading user units for ") {
            self.at_users = true;
            self.of_user.clear();
        } else if let Some(units) = line.strip_prefix("warning: the following user units failed: ") {
            self.of_user.extend(named(units));
        } else if let Some(user) =
            line.strip_prefix("warning: user activation for ").and_then(|rest| rest.strip_suffix(" failed"))
        {
            let failed = std::mem::take(&mut self.of_user);
            if failed.is_empty() {
                self.failing.unreached.insert(user.to_owned());
            } else {
                self.failing.users.entry(user.to_owned()).or_default().extend(failed);
            }
        } else if let Some((verb, rest)) = line.strip_prefix("Failed to ").and_then(|rest| rest.split_once(' '))
            && ["start", "restart", "reload", "stop"].contains(&verb)
        {
            // A job that failed, or that could not be queued, with the reason.
            let (unit, reason) = rest.split_once(": ").unwrap_or((rest, ""));
            // nixos-activation.service is a user unit as well, though the line does not say so.
            let users = unit.strip_prefix("user unit ").or((unit == "nixos-activation.service").then_some(unit));
            match users {
                Some(_) if MANAGER_ENDS.iter().any(|end| reason.contains(end)) => {}
                Some(unit) => self.of_user.extend(named(unit)),
                None => self.failing.units.extend(named(unit)),
            }
        }
        let lost = ["Error: Failed to get GID for ", "Error: Failed to get runtime directory for "];
        self.user_gone |= lost.iter().any(|lost| line.starts_with(lost));
    }

    /// Whether it stopped midway because a user logged out at that moment. When run again, it continues from lists that
    /// it saved; failures reported so far still count.
    pub fn goes_on(&mut self, code: Option<i32>) -> bool {
        let again = std::mem::take(&mut self.user_gone) && code == Some(1);
        if again {
            self.goes_on = true;
            self.inactive = false;
            self.at_users = false;
        }
        again
    }

    /// The result of a run with this exit code. `ended` describes the end, for the error message.
    pub fn ended(self, code: Option<i32>, ended: &str) -> Switched {
        match code {
            Some(0) if !self.goes_on || self.failing == Failing::default() => Switched::Done,
            // The exit code is the errno of whatever failed last, so it stands for the lock only if nothing was done.
            Some(11) if !self.begun => Switched::Busy,
            Some(1..) if self.busy && !self.begun && !self.unchecked => Switched::Busy,
            Some(100) => Switched::NeedsReboot,
            // A unit that fails later hides the exit code of the activation script.
            Some(0 | 4) if !self.inactive => Switched::UnitsFailed(self.failing),
            Some(0 | 2 | 4) => Switched::Failed("its activation script failed".to_owned()),
            Some(1) if self.unchecked => Switched::Failed("its pre-switch checks failed (exit code 1)".to_owned()),
            _ => Switched::Failed(format!("switch-to-configuration: {ended}")),
        }
    }
}

/// The names in a list of units. Names with characters that are special in systemctl's patterns are dropped.
fn named(list: &str) -> Vec<String> {
    let sign = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let is_name = move |name: &&str| {
        (1..=255).contains(&name.len()) && name.bytes().all(sign) && !name.starts_with('-') && name.contains('.')
    };
    list.split(", ").filter(is_name).map(str::to_owned).collect()
}

impl Switched {
    /// Lets failures of users' units count only if `counts(user, units)` returns true.
    pub fn spare_users(&mut self, counts: impl Fn(&str, &BTreeSet<String>) -> bool) {
        if let Switched::UnitsFailed(failing) = self {
            let Failing { users, own, .. } = failing;
            users.retain(|user, units| {
                let stays = counts(user, units);
                if !stays {
                    own.insert(user.clone(), std::mem::take(units));
                }
                stays
            });
        }
    }

    /// The failed system units that were not failing before.
    pub fn newly_failed<'a>(&'a self, before: Option<&'a BTreeSet<String>>) -> impl Iterator<Item = &'a str> {
        let units = match self {
            Switched::UnitsFailed(failing) => Some(&failing.units),
            _ => None,
        };
        let new = move |unit: &&String| !before.is_some_and(|before| before.contains(*unit));
        units.into_iter().flatten().filter(new).map(String::as_str)
    }

    /// Whether the system counts as active, with notes for the user if so. `before`: the units that were failing before
    /// the activation; `None` if unknown. A failed unit not among them is new; a failure without any named unit counts
    /// as new, too.
    pub fn judge(&self, before: Option<&BTreeSet<String>>) -> Result<Vec<String>, String> {
        let Failing { units, users, own, unreached } = match self {
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
        notes.extend(own.iter().map(|(user, units)| {
            let units: Vec<&str> = units.iter().map(String::as_str).collect();
            format!("units of {user} failed, which {user} can change: {}", units.join(", "))
        }));
        let people = || users.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
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
        // Exit code 4 without an explanation is a failure.
        assert_eq!(why(&ended(4, &["x"]), &["a.service"]), "units failed (exit code 4)");
        // A unit that fails after the activation script hides its exit code.
        let hidden = ["Failed to run activate script", "warning: the following units failed: a.service"];
        assert_eq!(why(&ended(4, &hidden), &["a.service"]), "its activation script failed");
        let user = "warning: user activation for jay failed";
        for of_jay in ["Failed to restart user unit b.service", "warning: the following user units failed: b.service"] {
            let units = ["reloading user units for ann...", of_jay, "reloading user units for jay...", of_jay, user];
            assert_eq!(why(&ended(4, &units), &[]), "user units failed, of: jay");
        }
        // No unit has failed if the user's manager was starting or stopping.
        let leaving = ["reloading user units for jay...", "Error: Failed to list systemd units", user];
        let notes = ended(4, &leaving).judge(Some(&names(&[]))).unwrap();
        assert_eq!(notes, ["the units of jay, who logged in or out, were not reloaded"]);
        // A manager that is stopping takes no jobs.
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
        // Failures from before the interruption count.
        let failed = ["Failed to start user unit b.service", "warning: user activation for jay failed", gone];
        let (again, switched) = ends(1, &failed, 0, &[]);
        assert_eq!((again, switched.judge(None).unwrap_err()), (true, "user units failed, of: jay".to_owned()));
    }

    #[test]
    fn how_it_ended_is_told_by_its_code_and_its_words() {
        let locked = "Could not acquire lock";
        assert_eq!(ended(1, &["x", locked]), Switched::Busy);
        let in_perl = "Could not acquire lock - Resource temporarily unavailable at /nix/store/x line 1.";
        assert_eq!((ended(11, &[]), ended(4, &[in_perl])), (Switched::Busy, Switched::Busy));
        assert_eq!(ended(100, &[]), Switched::NeedsReboot);
        assert_eq!(ended(0, &["warning: the following units failed: a.service"]), Switched::Done);
        assert!(ended(1, &["Pre-switch check 'x' failed"]).judge(None).unwrap_err().contains("pre-switch"));
        assert!(matches!(Said::default().ended(None, "ended by signal 9"), Switched::Failed(_)));
        // The same words printed by another program, or after something was done, do not mean that nothing changed.
        let status = "Nov 28 20:00:00 web app[1]: Could not acquire lock";
        let failed = "warning: the following units failed: a.service";
        for more in [status, locked, "Pre-switch check 'x' failed"] {
            let switched = ended(4, &["activating the configuration...", failed, more]);
            assert_eq!(switched.judge(None).unwrap_err(), "units failed: a.service", "{more}");
        }
        assert_ne!(ended(1, &[status]), Switched::Busy);
        for begun in ["stopping the following units: a.service", "activating the configuration..."] {
            assert!(matches!(ended(11, &[begun]), Switched::Failed(_)), "{begun}");
        }
        assert!(matches!(ended(1, &[locked, "Failed to install bootloader"]), Switched::Failed(_)));
        assert_eq!(ended(0, &[locked]), Switched::Done);
    }

    #[test]
    fn a_user_whose_manager_prints_lines_names_no_unit_of_the_machine() {
        let forged = [
            "reloading user units for ann...",
            "Failed to start user unit a.service: x",
            "warning: the following units failed: sshd.service",
            "Failed to start sshd.service",
            "Failed to run activate script",
            "restarting sysinit-reactivation.target",
            "warning: the following units failed: cron.service",
            "warning: user activation for root failed",
            "warning: user activation for ann failed",
            "restarting sysinit-reactivation.target",
        ];
        let mut switched = ended(4, &forged);
        assert_eq!(switched.newly_failed(None).count(), 0);
        switched.spare_users(|_, units| units.contains("b.service"));
        assert!(switched.judge(None).is_ok());
        let told = "warning: the following units failed: *, sshd?.service, --now.service, [a-z].mount, x.swap";
        let switched = ended(4, &[&forged[..], &[told]].concat());
        assert_eq!(switched.newly_failed(None).collect::<Vec<_>>(), ["x.swap"]);
    }

    #[test]
    fn units_that_their_user_can_change_take_nothing_back() {
        let user = |name: &str, unit: &str| {
            let lines = [
                "reloading user units for NAME...",
                "Failed to start user unit UNIT",
                "warning: user activation for NAME failed",
            ];
            lines.map(|line| line.replace("NAME", name).replace("UNIT", unit))
        };
        let lines = [user("ann", "a.service"), user("jay", "b.service")].concat();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut switched = ended(4, &lines);
        assert_eq!(switched.judge(None).unwrap_err(), "user units failed, of: ann, jay");
        switched.spare_users(|user, units| user == "jay" && units.contains("b.service"));
        assert_eq!(switched.judge(None).unwrap_err(), "user units failed, of: jay");
        switched.spare_users(|_, _| false);
        let notes = ["ann: a", "jay: b"].map(|one| one.split_once(": ").unwrap());
        let notes =
            notes.map(|(user, unit)| format!("units of {user} failed, which {user} can change: {unit}.service"));
        assert_eq!(switched.judge(None).unwrap(), notes);
    }
}
