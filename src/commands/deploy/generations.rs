//! `generations`: the generations that a host can roll back to.

use crate::commands::Session;
use crate::commands::agent::caller::Caller;
use crate::commands::agent::generations::here;
use crate::commands::hosts::connection::{Target, Transport, out_of_form};
use crate::commands::hosts::privilege::Rights;
use crate::commands::hosts::select::Who;
use crate::domain::deploy::generations::Generations;
use crate::domain::deploy::protocol::{HostCommand, HostEvent};
use crate::error::Result;

/// Lists the generations of a host: this machine, or one over SSH.
///
/// Fails if the host cannot be reached, or has no sealift.
pub fn run(session: &Session, who: &Who) -> Result<Generations> {
    let policy = &session.fleet.policy;
    let host = who.choose_one(policy)?;
    let target = who.reach(policy, &host, &who.ssh(policy)?, None, false)?;
    of(&target, &who.caller)
}

/// Lists the generations of a machine that was reached.
pub fn of(target: &Target, caller: &Caller) -> Result<Generations> {
    match &target.transport {
        Transport::Local(root) => here(root.path()),
        Transport::Remote(_) => match target.ask(&Rights::Root, caller, HostCommand::Generations)? {
            HostEvent::Generations(list) => Ok(list),
            _ => Err(out_of_form(target)),
        },
    }
}
