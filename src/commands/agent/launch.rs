//! Starts the part on the host that does the work, detached from the caller: in a session of its own, and where systemd
//! runs the machine in a unit of its own, whose end is looked after. It is the program of the system that comes, if that
//! speaks our protocol.

use std::path::{Path, PathBuf};

use crate::adapters::fs::root::Root;
use crate::adapters::host::{closure, units};
use crate::adapters::process::Invocation;
use crate::domain::deploy::protocol::{HostCommand, HostRequest, VERSION};
use crate::error::{Error, Result};

/// The verb under which the program on the host is started.
pub const VERB: &str = "host-run";
/// Says that the part that does the work is asked for, and for which user it waits.
pub const HERE: &str = "--here";
/// Finishes or takes back what a killed run left.
pub const RECOVER: &str = "--recover";
/// Prints the version of the protocol.
pub const PROTOCOL: &str = "--protocol";

/// The part that answers the deployer: this program, and the user that it works for.
pub struct Launcher {
    pub program: PathBuf,
    /// The user behind sudo, by number.
    pub user: u32,
}

impl Launcher {
    /// Starts the part that does the work and waits for it. It goes on if this ends. Whether it ended well.
    ///
    /// Fails when what is to be activated is no system, or nothing could be started.
    pub fn start(&self, root: &Root, request: &HostRequest) -> Result<bool> {
        let program = self.program_for(root, request)?;
        let mut line =
            serde_json::to_vec(request).map_err(|error| Error::failed("cannot write the request").because(error))?;
        line.push(b'\n');
        let call = detached(&program, self.user, &request.run, root.is_machine() && units::runs(root));
        Ok(call.input(line).attended()?.success())
    }

    /// The program of the system that comes, or this one. Only what is a system, in the store, is started.
    fn program_for(&self, root: &Root, request: &HostRequest) -> Result<PathBuf> {
        let HostCommand::Switch(switch) = &request.command else { return Ok(self.program.clone()) };
        if !closure::is_store_path(&switch.system) {
            return Err(Error::usage("what is to be activated is not a store path"));
        }
        closure::facts(root, &switch.system)?;
        let own = Path::new(&switch.system).join(closure::PROGRAM);
        // Below another root it would find other libraries, and other places.
        if !root.is_machine() || !own.exists() {
            return Ok(self.program.clone());
        }
        let speaks = Invocation::new(&own).args([VERB, PROTOCOL]).read().unwrap_or_default();
        let ours = String::from_utf8_lossy(&speaks).trim() == VERSION.to_string();
        Ok(if ours { own } else { self.program.clone() })
    }
}

/// The call of the part that does the work.
fn detached(program: &Path, user: u32, run: &str, systemd: bool) -> Invocation {
    let call = Invocation::new(program).args([VERB, HERE, &user.to_string()]);
    if !systemd {
        return call;
    }
    let unit = format!("--unit=sealift-deploy-{run}");
    // However the unit ends, what it left is finished or taken back. Without a prefix before the program: systemd 252 would
    // lose the line at the first daemon-reload, and every switch makes one.
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
        // What else is in the unit goes with its main process, and not before the way back may begin.
        "--property=KillMode=mixed",
        // The way back is a whole switch.
        "--property=TimeoutStopSec=15min",
        // As in the module's unit for recovery: no more, since the commands of checks may do what root may.
        "--property=KeyringMode=private",
        "--property=LimitCORE=0",
        "--property=LockPersonality=yes",
        "--property=RestrictRealtime=yes",
        "--",
    ];
    call.under("systemd-run", &options)
}

/// A path as one word of a command line in systemd's form (systemd.syntax(7), quoting).
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
