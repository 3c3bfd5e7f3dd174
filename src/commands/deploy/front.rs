//! Starts the part on the host that does the work, detached from whoever asked: in a session of its own, and where systemd
//! runs the machine in a unit of its own, whose end is looked after. It is the program of the system that comes, if that
//! speaks our protocol.

use std::path::{Path, PathBuf};

use super::caller::VERB;
use crate::adapters::process::Invocation;
use crate::adapters::rooted::Root;
use crate::adapters::{system, units};
use crate::error::{Error, Result};
use crate::fleet::order::{Order, VERSION, Work};

/// Says that the part that does the work is meant, and for which user it waits.
pub const HERE: &str = "--here";
/// Finishes or takes back what a killed run left.
pub const RECOVER: &str = "--recover";
/// Prints the version of the protocol.
pub const PROTOCOL: &str = "--protocol";

/// Who is the front: this program, and whom it works for.
pub struct Front {
    /// This program's own file.
    pub program: PathBuf,
    /// The user behind sudo, by number.
    pub user: u32,
}

impl Front {
    /// Starts the part that does the work and waits for it. It goes on if this ends. Whether it ended well.
    ///
    /// # Errors
    /// When what is to be activated is no system, or nothing could be started.
    pub fn start(&self, root: &Root, order: &Order) -> Result<bool> {
        let program = self.program_for(root, order)?;
        let mut line =
            serde_json::to_vec(order).map_err(|error| Error::failed("cannot write the order").because(error))?;
        line.push(b'\n');
        let surroundings =
            Surroundings { systemd: root.is_machine() && units::runs(root), logind: root.exists("/run/systemd/seats") };
        let call = detached(&program, self.user, &order.run, surroundings);
        Ok(call.input(line).relayed()?.well())
    }

    /// The program of the system that comes, or this one. Only what is a system, in the store, is started.
    fn program_for(&self, root: &Root, order: &Order) -> Result<PathBuf> {
        let Work::Switch(switch) = &order.work else { return Ok(self.program.clone()) };
        if !system::is_store_path(&switch.system) {
            return Err(Error::usage("what is to be activated is not a store path"));
        }
        system::facts(root, &switch.system)?;
        let own = Path::new(&switch.system).join(system::PROGRAM);
        // Below another root it would find other libraries, and other places.
        if !root.is_machine() || !own.exists() {
            return Ok(self.program.clone());
        }
        let speaks = Invocation::new(&own).args([VERB, PROTOCOL]).read().unwrap_or_default();
        let ours = String::from_utf8_lossy(&speaks).trim() == VERSION.to_string();
        Ok(if ours { own } else { self.program.clone() })
    }
}

/// What there is to detach by.
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    systemd: bool,
    logind: bool,
}

/// The call of the part that does the work.
fn detached(program: &Path, user: u32, run: &str, there: Surroundings) -> Invocation {
    let call = Invocation::new(program).args([VERB, HERE, &user.to_string()]);
    let call = if there.logind {
        // A closed lid or a reboot in the middle of a switch would be one more thing to recover from.
        let what = "--what=sleep:idle:handle-lid-switch:shutdown";
        call.under("systemd-inhibit", &[what, "--mode=block", "--who=sealift", "--why=a deploy is under way", "--"])
    } else {
        call
    };
    if !there.systemd {
        return call;
    }
    let unit = format!("--unit=sealift-deploy-{run}");
    // However the unit ends, what it left is finished or taken back. `:` keeps systemd from reading `$` or `%` in it.
    let after = format!("--property=ExecStopPost=\":{}\" {VERB} {RECOVER}", program.display());
    let options =
        ["--collect", "--quiet", "--pipe", "--wait", "--no-ask-password", "--service-type=exec", &unit, &after, "--"];
    call.under("systemd-run", &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_detached_by_whatever_is_there() {
        let shown = |systemd, logind| {
            detached(Path::new("/nix/store/x/etc/sealift/host"), 1000, "run", Surroundings { systemd, logind }).shown()
        };
        assert_eq!(shown(false, false), "/nix/store/x/etc/sealift/host host-run --here 1000");
        assert_eq!(
            shown(true, false),
            "systemd-run --collect --quiet --pipe --wait --no-ask-password --service-type=exec --unit=sealift-deploy-run --property=ExecStopPost=\":/nix/store/x/etc/sealift/host\" host-run --recover -- /nix/store/x/etc/sealift/host host-run --here 1000"
        );
        assert!(
            shown(true, true).contains("-- systemd-inhibit --what=sleep:idle:handle-lid-switch:shutdown --mode=block")
        );
    }
}
