//! systemd, through `systemctl`: which units are active, and restarting or reloading many with one call. A user's own
//! systemd is asked with the same words.

use std::path::Path;

use crate::adapters::process::Invocation;
use crate::domain::name::UnitName;
use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The machine's.
    Machine,
    /// Those of the user who runs this.
    User,
}

impl Manager {
    fn call(self) -> Invocation {
        let call = Invocation::new("systemctl");
        if self == Manager::User { call.args(["--user"]) } else { call }
    }
}

/// Whether a systemd runs the system whose root this is: only the running system's own has units.
pub fn runs(root: &Path) -> bool {
    std::fs::canonicalize(root).is_ok_and(|root| root == Path::new("/")) && Path::new("/run/systemd/system").is_dir()
}

/// Those of these units that are active, or on their way there.
pub fn active(manager: Manager, units: &[UnitName]) -> Result<Vec<UnitName>> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    // It exits with 3 as soon as one is not active: its lines count.
    let call = manager.call().args(["is-active", "--"]).args(units.iter().map(UnitName::as_str));
    let output = call.run()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let states: Vec<&str> = text.lines().collect();
    if states.len() != units.len() {
        return Err(call.failure(&output));
    }
    let running = |state: &str| matches!(state, "active" | "reloading" | "refreshing" | "activating");
    Ok(units.iter().zip(states).filter(|(_, state)| running(state)).map(|(unit, _)| unit.clone()).collect())
}

/// Queues what `verb` does with those units that run, and does not wait for it.
pub fn queue(manager: Manager, verb: &str, units: &[UnitName]) -> Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    let call = manager.call().args(["--no-block", verb, "--"]).args(units.iter().map(UnitName::as_str));
    call.read().map(drop).map_err(|error: Error| {
        error.help(format!("the new values are in place, but services may still use the old ones: {}", call.shown()))
    })
}
