//! `deploy` and `plan`: make the fleet's systems with their secrets the running ones on its hosts, or leave them
//! unchanged.
//!
//! This is the deployer's side: check, build as the caller, plan, ask. The rest is done by the program on each host
//! (`agent`), which then runs independently of this one.

pub mod attach;
mod begin;
mod build;
pub mod closure_scan;
mod decide;
mod difference;
pub mod etc_nixos;
mod execute;
pub mod generations;
mod preflight;
mod propose;
pub mod report;
pub mod request;
pub mod resume;
pub mod rollback;
pub mod run_store;
mod watch;

use std::collections::BTreeMap;

use crate::adapters::host::run_dir;
use crate::adapters::process::parallel;
use crate::adapters::signals;
use crate::commands::Session;
use crate::commands::deploy::begin::{Start, begin};
use crate::commands::deploy::build::{Build, Built};
use crate::commands::deploy::decide::{decide, goes_first, show};
use crate::commands::deploy::propose::propose;
use crate::commands::deploy::report::{Report, partition_ready};
use crate::commands::deploy::request::{Planning, Request};
use crate::commands::hosts::select::{Ready, Who};
use crate::commands::hosts::talk::OfHost;
use crate::domain::deploy::diff::{Action, Outcome};
use crate::domain::deploy::plan::{Campaign, VERSION};
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// Deploys.
///
/// An error means that no host was involved and nothing was changed. The results of each host are in the reports.
pub fn run(session: &Session, request: &Request) -> Result<Vec<Report>> {
    let Request { who, planning, how } = request;
    how.patience.fits(&who.choose(&session.fleet.policy)?.hosts)?;
    let Start { fleet, begun, chosen, reached } = begin(session, who, planning, true)?;
    let build = Build { session, who, planning, fleet: &fleet, rooted: &begun.rooted };
    if planning.action == Action::Build {
        let built = build.systems(&chosen.hosts)?;
        begun.discard();
        return Ok(built.into_iter().map(|(host, system)| of_built(&host, system)).collect());
    }
    let (ready, mut reports) = partition_ready(who, &chosen, reached, session.talk.as_ref())?;
    let (campaign, ready) = plan_of(&build, &begun.run, ready, &mut reports)?;
    let begun = begun.unless_failed(goes_first(planning.canary.as_ref(), &campaign))?;
    decide(session, who, how, begun, campaign, &ready, reports)
}

/// Plans a deploy. Returns the plan, and reports for hosts that are not in it. With `keep`, the systems stay in the
/// store for `apply`.
pub fn plan(session: &Session, who: &Who, planning: &Planning, keep: bool) -> Result<(Campaign, Vec<Report>)> {
    let Start { fleet, begun, chosen, reached } = begin(session, who, planning, false)?;
    let build = Build { session, who, planning, fleet: &fleet, rooted: &begun.rooted };
    let (ready, mut reports) = partition_ready(who, &chosen, reached, session.talk.as_ref())?;
    let (campaign, _) = plan_of(&build, &begun.run, ready, &mut reports)?;
    if keep && !campaign.hosts.is_empty() {
        begun.stay()?;
    } else {
        begun.discard();
    }
    Ok((campaign, reports))
}

/// Builds and compares. Hosts for which this fails are added to the reports.
fn plan_of(
    build: &Build<'_>,
    run: &str,
    ready: Vec<Ready>,
    reports: &mut Vec<Report>,
) -> Result<(Campaign, Vec<Ready>)> {
    let Build { session, planning, fleet, .. } = *build;
    let count = ready.len() + reports.len();
    signals::check()?;
    let mut hosts = BTreeMap::new();
    let mut going = Vec::new();
    let built = if planning.only_homes { build::running(ready) } else { build.systems_of(ready)? };
    let built = build.with_homes(built);
    let places = build.who.places(&session.fleet.policy, true);
    let items = parallel::map_on(places, &built, |(one, built): &(Ready, Result<Built>)| {
        let talk = OfHost::among(&session.talk, &one.host, count);
        built.as_ref().ok().map(|built| parallel::alone(|| propose(build, one, built, &talk)))
    });
    for ((one, built), item) in built.into_iter().zip(items) {
        // A host whose build failed was not compared.
        match item.unwrap_or_else(|| Err(built.err().unwrap_or_else(|| Error::failed("nix did not build it")))) {
            Ok(item) => {
                hosts.insert(one.host.clone(), item);
                going.push(one);
            }
            Err(error) => reports.push(Report::failed(&one.host, error)),
        }
    }
    show(hosts.values(), session.talk.as_ref());
    let campaign = Campaign {
        version: VERSION,
        run: run.to_owned(),
        planned: run_dir::now(),
        commit: fleet.git.revision(),
        action: planning.action,
        canary: planning.canary.clone().or_else(|| session.fleet.policy.deploy.canary.clone()),
        hosts,
    };
    Ok((campaign, going))
}

fn of_built(host: &HostName, system: Result<String>) -> Report {
    match system {
        Ok(system) => Report { system: Some(system), ..Report::early(host, None, Outcome::Done, None) },
        Err(error) => Report::failed(host, error),
    }
}
