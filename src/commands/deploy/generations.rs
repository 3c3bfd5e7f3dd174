//! `generations`: the systems that a host can go back to.

use crate::commands::Session;
use crate::commands::agent::caller::Caller;
use crate::commands::agent::generations::here;
use crate::commands::hosts::connection::{Reach, Target, out_of_form};
use crate::commands::hosts::privilege::Rights;
use crate::commands::hosts::select::Who;
use crate::domain::deploy::generations::Generations;
use crate::domain::deploy::protocol::{HostCommand, HostEvent};
use crate::error::Result;

/// Lists those of a host: of this machine, or over SSH.
///
/// Fails when it cannot be reached, or nothing of sealift is there.
pub fn run(session: &Session, who: &Who) -> Result<Generations> {
    let policy = &session.fleet.policy;
    let host = who.choose_one(policy)?;
    let target = who.reach(policy, &host, &who.ssh(policy)?, None, false)?;
    of(&target, &who.caller)
}

/// Lists those of a machine that was reached.
pub fn of(target: &Target, caller: &Caller) -> Result<Generations> {
    match &target.reach {
        Reach::Here(root) => here(root.path()),
        Reach::There(_) => match target.ask(&Rights::Root, caller, HostCommand::Generations)? {
            HostEvent::Generations(list) => Ok(list),
            _ => Err(out_of_form(target)),
        },
    }
}
