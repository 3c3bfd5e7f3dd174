//! Runs the declared checks before and after a switch. Only a check that got worse fails, after some time to recover.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::adapters::fs::root::Root;
use crate::adapters::host::{closure, probe};
use crate::domain::deploy::checks::with_commands;
use crate::domain::deploy::protocol::Look;
use crate::domain::name::{HostName, UnitName};
use crate::domain::policy::Probe;
use crate::error::{Error, Result};

/// The result of each check by name: an error message, or none.
pub type Findings = BTreeMap<String, Option<String>>;

/// Returns the checks, with commands taken from the given system.
pub fn of_system(root: &Root, system: Option<&str>, checks: &[Look]) -> Result<Vec<Look>> {
    let commands = system.map_or(Ok(None), |system| closure::commands(root, system))?;
    Ok(with_commands(checks, &commands.unwrap_or_default()))
}

pub fn look(root: &Root, host: Option<&HostName>, checks: &[Look]) -> Findings {
    checks
        .iter()
        .map(|check| {
            (check.name.clone(), probe::look(root, host, &check.probe).err().map(|error| error.message().to_owned()))
        })
        .collect()
}

pub struct Worse {
    pub error: Error,
    /// The units of the checks that got worse.
    pub units: Vec<UnitName>,
}

/// Repeats the checks until none is worse than before, or until the time `settle` is over.
pub fn compare(
    root: &Root,
    host: Option<&HostName>,
    checks: &[Look],
    before: &Findings,
    settle: Duration,
) -> Result<Findings, Worse> {
    let end = Instant::now() + settle;
    loop {
        let after = look(root, host, checks);
        let worse = |(name, wrong): (&String, &Option<String>)| match (before.get(name), wrong) {
            (Some(Some(_)), _) | (_, None) => None,
            (_, Some(wrong)) => Some((name.clone(), Error::failed(format!("check {name}: {wrong}")))),
        };
        let (names, faults): (Vec<String>, Vec<Error>) = after.iter().filter_map(worse).unzip();
        if faults.is_empty() {
            return Ok(after);
        }
        if Instant::now() >= end {
            let error = Error::batch(format!("{} checks got worse", faults.len()), faults);
            let units =
                checks.iter().filter(|check| names.contains(&check.name)).filter_map(|check| match &check.probe {
                    Probe::Unit(unit) => Some(unit.clone()),
                    _ => None,
                });
            return Err(Worse { error, units: units.collect() });
        }
        // A service that was just restarted needs a moment.
        std::thread::sleep(Duration::from_millis(500).min(settle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_got_worse_fails() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a"), "").unwrap();
        let root = Root::open(place.path()).unwrap();
        let checks = ["a", "b"].map(|name| Look { name: name.into(), probe: Probe::Exists(format!("/{name}")) });
        let before = look(&root, None, &checks);
        assert_eq!(before["a"], None);
        assert!(
            before["b"].is_some() && compare(&root, None, &checks, &before, Duration::ZERO).is_ok(),
            "b was missing before"
        );
        std::fs::remove_file(place.path().join("a")).unwrap();
        let error = compare(&root, None, &checks, &before, Duration::from_millis(1)).err().unwrap().error;
        assert_eq!(error.message(), "check a: /a does not exist");
    }
}
