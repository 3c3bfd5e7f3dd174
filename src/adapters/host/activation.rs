//! Activates a system: its own switch-to-configuration, or nixos-rebuild where that can be told which system.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::adapters::fs::root::Root;
use crate::adapters::host::units;
use crate::adapters::process::{Ended, Invocation};
use crate::domain::deploy::diff::Action;
use crate::domain::deploy::switched::{Said, Switched};
use crate::domain::policy::Engine;
use crate::error::{Error, Result};

/// How the names of the units begin in which switches run.
const UNIT: &str = "sealift-switch-";
/// How often a switch is called again that a user ended who logged out.
const AGAIN: usize = 3;
/// How many switches were called: a unit that was stopped just now may still have its name.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// What is asked of a system.
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    pub system: &'a str,
    /// `test`, `boot` or `dry-activate`.
    pub action: Action,
    /// Whether its pre-switch checks count. On the way back they do not: what they warn of is there already.
    pub checked: bool,
    pub engine: Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The system's own.
    Native,
    NixosRebuild,
}

impl Program {
    /// The program for a root: nixos-rebuild only where it takes a store path, and only for the running machine.
    pub fn choose(engine: Engine, root: &Root) -> Result<Self> {
        if engine == Engine::Native || (engine == Engine::Auto && !root.is_machine()) {
            return Ok(Program::Native);
        }
        let able = root.is_machine()
            && Invocation::new("nixos-rebuild").arg("--help").run().is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout).contains("--store-path")
                    || String::from_utf8_lossy(&output.stderr).contains("--store-path")
            });
        match (able, engine) {
            (true, _) => Ok(Program::NixosRebuild),
            (false, Engine::NixosRebuild) => Err(Error::failed("nixos-rebuild cannot activate a store path here").help(
                "`engine = \"auto\"` or `\"native\"` in [deploy] of recipients.toml uses the system's own switch-to-configuration",
            )),
            (false, _) => Ok(Program::Native),
        }
    }
}

/// Runs it to its end. `line` gets what it says.
pub fn activate(root: &Root, activation: Activation<'_>, line: impl Fn(&str)) -> Result<Switched> {
    let mut said = Said::default();
    let mut left = AGAIN;
    loop {
        // Into no pipe of ours: a switch goes on when this process is killed, and must not die of telling it.
        let ended = call(root, activation).logged(|text| {
            said.line(text);
            line(text);
        })?;
        let code = match ended {
            Ended::Code(code) => Some(code),
            Ended::Signal(_) => None,
        };
        if left == 0 || !said.goes_on(code) {
            let mut switched = said.ended(code, &ended.to_string());
            switched.spare_users(|user, failed| units::are_the_systems(root, user, failed));
            return Ok(switched);
        }
        left -= 1;
        line("a user logged out and ended the switch: it is run again, and units of other users may stay as they are");
    }
}

/// Ends the switches that a run left at work when it was killed: they hold the lock, and go the wrong way.
pub fn end_left(root: &Root) -> Result<()> {
    if !root.is_machine() || !units::runs(root) {
        return Ok(());
    }
    Invocation::new("systemctl").args(["stop", "--", &format!("{UNIT}*.service")]).read().map(drop)
}

fn call(root: &Root, activation: Activation<'_>) -> Invocation {
    let Activation { system, action, checked, engine } = activation;
    let stc = format!("{system}/bin/switch-to-configuration");
    let mut variables = vec!["NIXOS_INSTALL_BOOTLOADER=0"];
    if !checked {
        variables.push("NIXOS_NO_CHECK=1");
    }
    let set = |call: Invocation| {
        variables
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .fold(call, |call, (name, value)| call.env(name, value))
    };
    if engine == Program::NixosRebuild && checked {
        // A newer nixos-rebuild than this one is no reason to evaluate anything: the system is built and was shown.
        return set(Invocation::new("nixos-rebuild").args([action.as_str(), "--no-reexec", "--store-path", system]));
    }
    if !root.is_machine() {
        return set(Invocation::new("chroot").arg(root.path()).arg(stc).arg(action.as_str()).in_dir(root.path()));
    }
    if !units::runs(root) {
        return set(Invocation::new(stc).arg(action.as_str()));
    }
    // In a unit of its own it outlives the service manager's restart of what started it, and a killed deploy.
    let unit = format!("--unit={UNIT}{}-{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
    let call = Invocation::new("systemd-run").args([
        "--collect",
        "--no-ask-password",
        "--pipe",
        "--quiet",
        "--wait",
        "--service-type=exec",
        &unit,
    ]);
    let call = variables.iter().fold(call.args(["-E", "LOCALE_ARCHIVE"]), |call, variable| call.args(["-E", variable]));
    call.args(["--", &stc, action.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_are_as_documented() {
        let place = tempfile::tempdir().unwrap();
        let root = Root::open(place.path()).unwrap();
        let activation =
            Activation { system: "/nix/store/x", action: Action::Test, checked: true, engine: Program::Native };
        let shown = call(&root, activation).shown();
        assert_eq!(shown, format!("chroot {} /nix/store/x/bin/switch-to-configuration test", root.path().display()));
        let rebuild = Activation { engine: Program::NixosRebuild, action: Action::Boot, ..activation };
        assert_eq!(call(&root, rebuild).shown(), "nixos-rebuild boot --no-reexec --store-path /nix/store/x");
        let back = Activation { checked: false, ..rebuild };
        assert!(call(&root, back).shown().starts_with("chroot"), "the way back is always the system's own");
    }
}
