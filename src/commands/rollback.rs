//! `rollback`: makes a former generation of the system the running one again, with its own secrets. The same transaction
//! as a deploy, without a build; works without a fleet too, because it is what one reaches for when something is broken.

use std::path::PathBuf;

use super::deploy::handover::{Caller, hand_over, recover};
use super::deploy::plan::Plan;
use super::deploy::preflight::{Rights, this_machine};
use super::deploy::{Report, checks};
use super::{Event, Talk};
use crate::adapters::profile::{self, Generation};
use crate::adapters::rooted::Root;
use crate::adapters::system;
use crate::error::{Error, Result};
use crate::fleet::name::HostName;
use crate::fleet::order::{Profile, Switch, Work};
use crate::fleet::policy::{Engine, Policy};
use crate::fleet::rollout::Action;

/// Where to go back to.
pub struct Request {
    /// The host; none: the one that this machine is.
    pub host: Option<HostName>,
    /// The machine's root directory.
    pub root: PathBuf,
    /// The generation; none: the one before the current one.
    pub to: Option<u64>,
    /// For how many seconds a check that got worse may recover.
    pub settle: u64,
    /// Who asks, and with which program.
    pub caller: Caller,
}

/// Rolls back. `policy` is none where no fleet is at hand: then nothing is checked but that the system activates.
///
/// # Errors
/// When there is no such generation, or it ended before a plan was made. Later failures are in the report.
pub fn run(policy: Option<&Policy>, talk: &dyn Talk, request: &Request) -> Result<Report> {
    let root = Root::open(&request.root)?;
    let host = match (policy, &request.host) {
        (Some(policy), Some(named)) => Some(this_machine(policy, &root, Some(named))?),
        // A machine that is not in the policy can still go back.
        (Some(policy), None) => this_machine(policy, &root, None).ok(),
        (None, named) => named.clone(),
    };
    let rights = Rights::get()?;
    if recover(&root, rights, &request.caller, talk)?.is_some() && request.to.is_none() {
        let system = root.store_path(system::RUNNING).unwrap_or_default();
        return Err(Error::failed(format!("an interrupted deploy was ended first; what runs now is {system}"))
            .hint("run `sealift rollback` again to go back further, or `sealift generations` to see where you are"));
    }
    let (number, system) = target(&root, request.to)?;
    let manifest = system::manifest(&root, &system);
    let plan = Plan::of(&root, host.as_ref(), Action::Switch, &system, manifest.as_deref())?;
    talk.event(Event::Note(format!("back to generation {number}")));
    plan.lines().into_iter().for_each(|line| talk.event(Event::Note(line)));
    let declared = policy.zip(host.as_ref()).map_or_else(Vec::new, |(policy, host)| checks(policy, host));
    let switch = Switch {
        action: Action::Switch,
        profile: Profile::Generation(number),
        expected: plan.former.clone(),
        live: plan.live(),
        bundle: root.link(&system::bundle(&system)),
        checks: declared,
        settle: request.settle,
        engine: Engine::Native,
        commit: None,
        acknowledge: None,
        system,
    };
    let order = request.caller.order(&root, host.clone(), Work::Switch(Box::new(switch)))?;
    let verdict = hand_over(&order, rights, &request.caller, talk)?;
    Ok(Report::of(host, plan, &order.run, verdict))
}

/// The generation to go back to, and its system.
fn target(root: &Root, to: Option<u64>) -> Result<(u64, String)> {
    let all = profile::generations(root);
    let current = profile::current(root);
    // A system that was only tried is in no generation: back is the one that boots.
    let running = root.store_path(system::RUNNING);
    let tried = running.is_some() && !all.iter().any(|generation| generation.system == running);
    let to = to.or_else(|| current.filter(|_| tried));
    let chosen = match to {
        Some(number) => all.iter().find(|generation| generation.number == number),
        None => all.iter().rev().find(|generation| current.is_some_and(|current| generation.number < current)),
    };
    let there = || all.iter().map(|generation| generation.number.to_string()).collect::<Vec<_>>().join(", ");
    match chosen {
        Some(Generation { number, system: Some(system), .. }) => Ok((*number, system.clone())),
        Some(Generation { number, .. }) => {
            Err(Error::failed(format!("the system of generation {number} is not in the store any more"))
                .hint(format!("there are: {}", there())))
        }
        None if all.is_empty() => {
            Err(Error::failed(format!("{} has no system profile: nothing was deployed there", root.path().display())))
        }
        None => Err(match to {
            Some(number) => Error::failed(format!("there is no generation {number}")),
            None => Error::failed("there is no generation before the current one"),
        }
        .hint(format!("there are: {}", there()))),
    }
}
