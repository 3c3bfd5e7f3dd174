//! `verify`: runs the declared checks of hosts, and compares their delivered secrets with the manifests of their
//! systems. Nothing is decrypted.

use crate::adapters::process::parallel;
use crate::commands::Session;
use crate::commands::hosts::connection::out_of_form;
use crate::commands::hosts::select::{Needs, Ready, Who, reach_all};
use crate::domain::deploy::checks::{checks, commands, with_commands};
use crate::domain::deploy::diff::Commands;
use crate::domain::deploy::protocol::{HostCommand, HostEvent, Verified};
use crate::domain::name::HostName;
use crate::domain::policy::Policy;
use crate::error::Result;

/// The result for one host.
pub struct VerifiedHost {
    pub host: HostName,
    /// The results, or why there are none.
    pub verified: Result<Verified>,
}

/// How to handle commands of checks that the work tree declares and no deployed system contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeployed {
    /// Show them, and run them if the user agrees.
    Ask,
    Run,
    Skip,
}

pub fn run(session: &Session, who: &Who, undeployed: Undeployed) -> Result<Vec<VerifiedHost>> {
    let policy = &session.fleet.policy;
    let chosen = who.choose(policy)?;
    let needs = Needs { root: true, brings: None, gate: None };
    let (mut found, mut ready) = (Vec::new(), Vec::new());
    for (host, one) in reach_all(policy, who, &chosen, needs, None, &session.talk)? {
        match one {
            Ok(one) => ready.push(one),
            Err(error) => found.push(VerifiedHost { host, verified: Err(error) }),
        }
    }
    let agreed = match undeployed {
        Undeployed::Run => true,
        Undeployed::Skip => false,
        Undeployed::Ask => agreed(session, &ready)?,
    };
    found.extend(parallel::map_on(who.places(policy, false), &ready, |one| {
        let verified = parallel::alone(|| {
            let asked = if agreed { taken_from(policy, one) } else { Commands::new() };
            let checks = with_commands(&checks(policy, &one.host), &asked);
            match one.target.ask(&one.rights, &who.caller, HostCommand::Verify(checks))? {
                HostEvent::Verified(verified) => Ok(verified),
                _ => Err(out_of_form(&one.target)),
            }
        });
        VerifiedHost { host: one.host.clone(), verified }
    }));
    found.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(found)
}

/// Returns the commands of checks to run from the work tree: those of a host whose system has none.
fn taken_from(policy: &Policy, ready: &Ready) -> Commands {
    let carries = ready.target.survey.running.as_ref().is_some_and(|running| running.commands.is_some());
    if carries { Commands::new() } else { commands(policy, &ready.host) }
}

/// Shows the commands from the work tree that would run as root, and asks. A clone of somebody else's fleet must not
/// run any without consent.
fn agreed(session: &Session, ready: &[Ready]) -> Result<bool> {
    let (mut lines, mut named) = (Vec::new(), String::new());
    for one in ready {
        let asked = taken_from(&session.fleet.policy, one);
        if !asked.is_empty() {
            named += &one.target.words();
        }
        lines.extend(asked.iter().map(|(name, words)| format!("  {}: check {name}: {}", one.host, words.join(" "))));
    }
    if lines.is_empty() {
        return Ok(false);
    }
    session.note("commands of recipients.toml, which no deployed system carries, would run as root:");
    lines.into_iter().for_each(|line| session.note(line));
    let agreed = session.talk.confirm("Run them?")?;
    if !agreed {
        session.note(format!("they are not run; `sealift verify{named} --yes` runs them without asking"));
    }
    Ok(agreed)
}
