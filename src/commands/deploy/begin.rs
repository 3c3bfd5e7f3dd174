//! The start of every deploy: checks the fleet and reaches its hosts, and reports the problems of both at once.

use std::sync::{PoisonError, RwLock};

use crate::commands::Session;
use crate::commands::deploy::preflight;
use crate::commands::deploy::request::{Builder, Planning};
use crate::commands::deploy::run_store::{Begun, Store};
use crate::commands::hosts::bootstrap::Brought;
use crate::commands::hosts::ready::{Brings, together};
use crate::commands::hosts::select::{Chosen, Needs, Ready, Who, reach_all};
use crate::commands::talk::Event;
use crate::domain::deploy::diff::Action;
use crate::domain::name::HostName;
use crate::error::{Error, Kind, Result};

/// What a deploy continues with after all checks have passed.
pub struct Start {
    pub fleet: preflight::Prepared,
    pub begun: Begun,
    pub chosen: Chosen,
    /// The hosts that were reached; empty if no host is involved.
    pub reached: Vec<(HostName, Result<Ready>)>,
}

/// Checks the fleet and reaches its hosts at the same time. `root` says whether root's rights are needed there.
pub fn begin(session: &Session, who: &Who, planning: &Planning, root: bool) -> Result<Start> {
    let talk = session.talk.as_ref();
    talk.event(Event::Step("checking the preconditions".to_owned()));
    let chosen = who.choose(&session.fleet.policy)?;
    let git = session.fleet.git().map_err(|error| error.of_kind(Kind::Usage))?;
    let begun = Store::of(&git, &session.fleet.root)?.begin()?;
    let gate = RwLock::new(false);
    let mut well = gate.write().unwrap_or_else(PoisonError::into_inner);
    let needs = Needs { root, brings: Some(brings(session, &planning.builder)), gate: Some(&gate) };
    let (fleet, reached) = std::thread::scope(|scope| {
        let reaching =
            (planning.action != Action::Build).then(|| scope.spawn(|| reach(session, who, &begun, &chosen, needs)));
        let fleet = preflight::fleet(&session.fleet, git, planning.flake.as_deref(), session.today, talk);
        *well = fleet.is_ok();
        drop(well);
        let failed = |_| Err(Error::new(Kind::Bug, "the thread that reaches the hosts failed"));
        (fleet, reaching.map_or_else(|| Ok(Vec::new()), |reaching| reaching.join().unwrap_or_else(failed)))
    });
    match fleet {
        Ok(fleet) => Ok(Start { fleet, begun, chosen, reached: reached? }),
        Err(mut problems) => {
            begun.discard();
            problems.extend(reached?.into_iter().filter_map(|(_, one)| one.err()));
            Err(together(problems))
        }
    }
}

/// Returns how a system built by this builder is brought to a host.
pub fn brings(session: &Session, builder: &Builder) -> Brings {
    Brings { signed: session.fleet.policy.deploy.sign_key.is_some(), builds: *builder == Builder::Target }
}

pub fn reach(
    session: &Session,
    who: &Who,
    begun: &Begun,
    chosen: &Chosen,
    needs: Needs<'_>,
) -> Result<Vec<(HostName, Result<Ready>)>> {
    let brought = Brought::new(who.host_program.clone(), begun.rooted.folder().to_owned());
    reach_all(&session.fleet.policy, who, chosen, needs, Some(&brought), &session.talk)
}
