//! systemd, through `systemctl`: which units are active, and restarting or reloading several with one call. A user's
//! manager takes the same commands.

use std::path::Path;

use crate::adapters::process::Invocation;
use crate::domain::name::UnitName;
use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    Machine,
    /// That of the current user.
    User,
}

impl Manager {
    fn call(self) -> Invocation {
        let call = Invocation::new("systemctl");
        if self == Manager::User { call.args(["--user"]) } else { call }
    }
}

/// Whether systemd runs the system at this root: only the running system has units.
pub fn runs(root: &Path) -> bool {
    std::fs::canonicalize(root).is_ok_and(|root| root == Path::new("/")) && Path::new("/run/systemd/system").is_dir()
}

/// Those of these units that are active or becoming active.
pub fn active(manager: Manager, units: &[UnitName]) -> Result<Vec<UnitName>> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    // The exit code is 3 if any unit is inactive, so only the lines count.
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

/// Queues `verb` for these units without waiting for it.
pub fn queue(manager: Manager, verb: &str, units: &[UnitName]) -> Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    let call = manager.call().args(["--no-block", verb, "--"]).args(units.iter().map(UnitName::as_str));
    call.read().map(drop).map_err(|error: Error| {
        error.help(format!("the new values are in place, but services may still use the old ones: {}", call.shown()))
    })
}
