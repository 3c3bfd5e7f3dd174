//! Starts the worker process on the host, detached from the caller: in its own session and, under systemd, in its own
//! unit, which recovers the run if the worker is killed. The worker is the new system's program if that supports this
//! protocol version.

use std::path::{Path, PathBuf};

use crate::adapters::fs::root::Root;
use crate::adapters::host::{closure, units};
use crate::adapters::process::Invocation;
use crate::domain::deploy::protocol::{HostCommand, HostRequest, VERSION};
use crate::error::{Error, Result};

/// The verb that starts the program on the host.
pub const VERB: &str = "host-run";
/// Selects the worker process. The value is the id of the user who may acknowledge.
pub const HERE: &str = "--here";
/// Finishes or rolls back an interrupted run.
pub const RECOVER: &str = "--recover";
/// Prints the protocol version.
pub const PROTOCOL: &str = "--protocol";

/// The process that answers the deployer.
pub struct Launcher {
    pub program: PathBuf,
    /// The id of the user who called sudo.
    pub user: u32,
}

impl Launcher {
    /// Starts the worker and waits for it; the worker continues if this process ends. Returns whether it succeeded.
    ///
    /// Fails if the path to activate is not a system, or if the worker cannot be started.
    pub fn start(&self, root: &Root, request: &HostRequest) -> Result<bool> {
        let program = self.program_for(root, request)?;
        let mut line =
            serde_json::to_vec(request).map_err(|error| Error::failed("cannot write the request").because(error))?;
        line.push(b'\n');
        let call = detached(&program, self.user, &request.run, root.is_machine() && units::runs(root));
        Ok(call.input(line).attended()?.success())
    }

    /// Returns the new system's program, or this one. Starts only a program of a system in the store.
    fn program_for(&self, root: &Root, request: &HostRequest) -> Result<PathBuf> {
        let HostCommand::Switch(switch) = &request.command else { return Ok(self.program.clone()) };
        if !closure::is_store_path(&switch.system) {
            return Err(Error::usage("what is to be activated is not a store path"));
        }
        closure::facts(root, &switch.system)?;
        let own = Path::new(&switch.system).join(closure::PROGRAM);
        // Below another root the program would find the wrong libraries and paths.
        if !root.is_machine() || !own.exists() {
            return Ok(self.program.clone());
        }
        let speaks = Invocation::new(&own).args([VERB, PROTOCOL]).read().unwrap_or_default();
        let ours = String::from_utf8_lossy(&speaks).trim() == VERSION.to_string();
        Ok(if ours { own } else { self.program.clone() })
    }
}

/// Builds the command that starts the worker.
fn detached(program: &Path, user: u32, run: &str, systemd: bool) -> Invocation {
    let call = Invocation::new(program).args([VERB, HERE, &user.to_string()]);
    if !systemd {
        return call;
    }
    let unit = format!("--unit=sealift-deploy-{run}");
    // Recovers an interrupted run however the unit ends. The program has no prefix: systemd 252 would lose the line at
    // the first daemon-reload, and every switch does one.
    let after = format!("--property=ExecStopPost={} {VERB} {RECOVER}", word(program));
    let options = [
        "--collect",
        "--quiet",
        "--pipe",
        "--wait",
        "--no-ask-password",
        "--service-type=exec",
        &unit,
        &after,
        // Stops the worker first, and the other processes of the unit only after it, so that a rollback can still run.
        "--property=KillMode=mixed",
        // A rollback is a whole switch.
        "--property=TimeoutStopSec=15min",
        // The same as in the module's recovery unit. No further restrictions: the commands of checks may do what root
        // may.
        "--property=KeyringMode=private",
        "--property=LimitCORE=0",
        "--property=LockPersonality=yes",
        "--property=RestrictRealtime=yes",
        "--",
    ];
    call.under("systemd-run", &options)
}

/// Quotes a path as one word of a systemd command line; see systemd.syntax(7).
fn word(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_detached_by_whatever_is_there() {
        let shown = |program: &str, systemd| detached(Path::new(program), 1000, "run", systemd).shown();
        let program = "/nix/store/x/etc/sealift/host";
        assert_eq!(shown(program, false), "/nix/store/x/etc/sealift/host host-run --here 1000");
        let call = shown(program, true);
        for part in [
            "systemd-run --collect --quiet --pipe --wait --no-ask-password --service-type=exec --unit=sealift-deploy-run ",
            r#"--property=ExecStopPost="/nix/store/x/etc/sealift/host" host-run --recover"#,
            " --property=KillMode=mixed --property=TimeoutStopSec=15min ",
            " -- /nix/store/x/etc/sealift/host host-run --here 1000",
        ] {
            assert!(call.contains(part), "{call}");
        }
        assert!(shown(r#"/a b/"c"\d"#, true).contains(r#"ExecStopPost="/a b/\"c\"\\d" host-run"#));
    }
}
