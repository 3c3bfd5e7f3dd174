//! `verify`: the declared checks of hosts, and whether what is delivered there is what their systems carry. Nothing is
//! opened.

use super::Session;
use super::deploy::checks;
use super::deploy::crew::{Needs, Who, reach_all};
use super::deploy::target::out_of_form;
use crate::adapters::parallel;
use crate::error::Result;
use crate::fleet::name::HostName;
use crate::fleet::order::{Told, Verified, Work};

/// What was found on one host.
pub struct Found {
    /// The host.
    pub host: HostName,
    /// What was found; or why nothing could be.
    pub verified: Result<Verified>,
}

/// Verifies.
///
/// # Errors
/// When a word names no host. What is wrong with a host is told for that host.
pub fn run(session: &Session, who: &Who) -> Result<Vec<Found>> {
    let policy = &session.fleet.policy;
    let chosen = who.choose(policy)?;
    let needs = Needs { root: true, brings: None, gate: None };
    let (mut found, mut ready) = (Vec::new(), Vec::new());
    for (host, one) in reach_all(policy, who, &chosen, needs, None, &session.talk)? {
        match one {
            Ok(one) => ready.push(one),
            Err(error) => found.push(Found { host, verified: Err(error) }),
        }
    }
    found.extend(parallel::map_on(ready.len(), &ready, |one| {
        let told = one.target.ask(&one.rights, &who.caller, Work::Verify(checks(policy, &one.host)));
        let verified = told.and_then(|told| match told {
            Told::Verified(verified) => Ok(verified),
            _ => Err(out_of_form(&one.target)),
        });
        Found { host: one.host.clone(), verified }
    }));
    found.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(found)
}
