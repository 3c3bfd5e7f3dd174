//! Activates a system: with its own switch-to-configuration, or with nixos-rebuild if that accepts a store path.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::adapters::fs::root::Root;
use crate::adapters::host::units;
use crate::adapters::process::{Ended, Invocation};
use crate::domain::deploy::diff::Action;
use crate::domain::deploy::switched::{Said, Switched};
use crate::domain::policy::Engine;
use crate::error::{Error, Result};

/// The name prefix of the units that switches run in.
const UNIT: &str = "sealift-switch-";
/// How often a switch is repeated after a user's logout ended it.
const AGAIN: usize = 3;
/// Numbers the switches: a unit that was just stopped may still occupy its name.
static CALLS: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    pub system: &'a str,
    /// `test`, `boot` or `dry-activate`.
    pub action: Action,
    /// Whether pre-switch checks apply. Not for rollbacks: what they warn about has already happened.
    pub checked: bool,
    pub engine: Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The system's own switch-to-configuration.
    Native,
    NixosRebuild,
}

impl Program {
    /// Selects the program for a root: nixos-rebuild only if it accepts a store path, and only for the running machine.
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

/// Runs the switch to its end. `line` gets its output.
pub fn activate(root: &Root, activation: Activation<'_>, line: impl Fn(&str)) -> Result<Switched> {
    let mut said = Said::default();
    let mut left = AGAIN;
    loop {
        // Not into a pipe of ours: a switch continues when this process is killed, and must not die of SIGPIPE.
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

/// Stops switches left running by a killed run: they hold the lock and activate the wrong system.
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
        // Without `--no-reexec`, nixos-rebuild may evaluate a flake to update itself: the system is already built and
        // confirmed.
        return set(Invocation::new("nixos-rebuild").args([action.as_str(), "--no-reexec", "--store-path", system]));
    }
    if !root.is_machine() {
        return set(Invocation::new("chroot").arg(root.path()).arg(stc).arg(action.as_str()).in_dir(root.path()));
    }
    if !units::runs(root) {
        return set(Invocation::new(stc).arg(action.as_str()));
    }
    // In its own unit it survives a service manager restart of whatever started it, and a killed deploy.
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
