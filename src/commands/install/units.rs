//! Restarts and reloads active units whose secrets changed, after the new generation is live, with two calls in total.

use std::collections::BTreeSet;
use std::path::Path;

use crate::adapters::host::systemd::{self, Manager};
use crate::domain::manifest::install_status::Units;
use crate::domain::name::UnitName;
use crate::error::Error;

/// The units of changed secrets.
#[derive(Debug, Default)]
pub struct UnitActions {
    restart: BTreeSet<UnitName>,
    reload: BTreeSet<UnitName>,
}

impl UnitActions {
    /// Adds the units of one changed secret. Ignores invalid unit names: a status is only a file.
    pub fn add<T: AsRef<str>>(&mut self, restart: &[T], reload: &[T]) {
        self.restart.extend(restart.iter().filter_map(|unit| unit.as_ref().parse().ok()));
        self.reload.extend(reload.iter().filter_map(|unit| unit.as_ref().parse().ok()));
    }

    /// Restarts and reloads the active units. A unit in both sets is restarted.
    pub fn touch(self, manager: Manager, root: &Path) -> (Units, Vec<Error>) {
        let untouched = |why: &str| (Units { untouched: Some(why.to_owned()), ..Units::default() }, Vec::new());
        if self.restart.is_empty() && self.reload.is_empty() {
            return (Units::default(), Vec::new());
        }
        if !systemd::runs(root) {
            return untouched("no systemd runs the system below this root");
        }
        let restart: Vec<UnitName> = self.restart.iter().cloned().collect();
        let reload: Vec<UnitName> = self.reload.difference(&self.restart).cloned().collect();
        let all: Vec<UnitName> = restart.iter().chain(&reload).cloned().collect();
        let active: BTreeSet<UnitName> = match systemd::active(manager, &all) {
            Ok(active) => active.into_iter().collect(),
            Err(error) => {
                let (units, _) = untouched("systemd did not say which are active");
                return (units, vec![error]);
            }
        };
        let only_active =
            |units: Vec<UnitName>| units.into_iter().filter(|unit| active.contains(unit)).collect::<Vec<_>>();
        let (restart, reload) = (only_active(restart), only_active(reload));
        // A unit that cannot reload is restarted.
        let queue = |verb, units: &[UnitName]| systemd::queue(manager, verb, units);
        let outcomes = [queue("try-restart", &restart), queue("try-reload-or-restart", &reload)];
        let told = |units: &[UnitName], done: bool| {
            if done { units.iter().map(ToString::to_string).collect() } else { Vec::new() }
        };
        let units = Units {
            restarted: told(&restart, outcomes[0].is_ok()),
            reloaded: told(&reload, outcomes[1].is_ok()),
            untouched: None,
        };
        (units, outcomes.into_iter().filter_map(Result::err).collect())
    }
}
