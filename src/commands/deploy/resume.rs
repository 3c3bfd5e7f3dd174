//! `apply` and `deploy --resume`: carry out an existing plan, without building.

use std::collections::BTreeSet;
use std::path::Path;

use crate::adapters::host::closure;
use crate::adapters::nix::build::Rooted;
use crate::commands::Session;
use crate::commands::deploy::begin::{brings, reach};
use crate::commands::deploy::decide::{decide, goes_first, show};
use crate::commands::deploy::report::{Report, partition_ready};
use crate::commands::deploy::request::{Builder, How, Request};
use crate::commands::deploy::run_store::{self, Begun, Store};
use crate::commands::hosts::select::{Chosen, Needs, Ready, Who};
use crate::commands::hosts::talk::listed;
use crate::domain::deploy::diff::Outcome;
use crate::domain::deploy::plan::{Campaign, State};
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// Carries out a reviewed plan: exactly its systems and its ciphertext.
///
/// Fails as `run` does, and also if one of its systems is no longer in the store.
pub fn apply(session: &Session, who: &Who, how: &How, file: &Path) -> Result<Vec<Report>> {
    let planned = run_store::read(file)?;
    how.patience.fits(&planned.hosts.keys().cloned().collect())?;
    let git = session.fleet.git()?;
    let begun = Store::of(&git, &session.fleet.root)?.begin()?;
    let campaign = Campaign { run: begun.run.clone(), ..planned };
    again(session, who, how, &Builder::Here, begun, campaign)
}

/// Resumes every deploy that has not succeeded on all its hosts: the same systems, on the remaining hosts.
pub fn resume(session: &Session, request: &Request) -> Result<Vec<Report>> {
    let git = session.fleet.git()?;
    let store = Store::of(&git, &session.fleet.root)?;
    let mut open = store.left()?;
    request.how.patience.fits(&open.iter().flat_map(|(_, planned)| planned.left()).collect())?;
    if open.len() == 1 {
        return open.pop().map_or_else(
            || Ok(Vec::new()),
            |(previous, planned)| take_up(session, request, &store, previous, planned),
        );
    }
    let mut reports = Vec::new();
    for (previous, planned) in open {
        let first = planned.left().into_iter().next();
        match (take_up(session, request, &store, previous, planned), first) {
            (Ok(taken), _) => reports.extend(taken),
            // The other deploys are still resumed.
            (Err(error), Some(host)) => reports.push(Report::failed(&host, error)),
            (Err(error), None) => return Err(error),
        }
    }
    Ok(reports)
}

/// Resumes one deploy. Hosts that fail again remain for the next resume.
fn take_up(
    session: &Session,
    request: &Request,
    store: &Store,
    previous: Begun,
    planned: Campaign,
) -> Result<Vec<Report>> {
    let begun = store.begin()?;
    let left = planned.left();
    let mut campaign = Campaign { run: begun.run.clone(), ..planned };
    campaign.hosts.retain(|host, _| left.contains(host));
    // A canary that has succeeded has already gone first.
    campaign.canary = campaign.canary.filter(|canary| left.contains(canary));
    session.note(format!("resuming {} for {}", previous.run, listed(&left)));
    let Request { who, planning, how } = request;
    let begun = begun.unless_failed(goes_first(planning.canary.as_ref(), &campaign))?;
    let reports = again(session, who, how, &planning.builder, begun, campaign)?;
    let well = |report: &&Report| State::Ended(report.outcome).is_success();
    previous.settle(|host| reports.iter().filter(well).any(|report| report.host.as_ref() == Some(host)))?;
    Ok(reports)
}

/// Carries out an existing plan. `builder` says where it was built.
fn again(
    session: &Session,
    who: &Who,
    how: &How,
    builder: &Builder,
    begun: Begun,
    mut campaign: Campaign,
) -> Result<Vec<Report>> {
    let policy = &session.fleet.policy;
    let hosts: BTreeSet<HostName> = campaign.hosts.keys().cloned().collect();
    campaign.hosts.keys().try_for_each(|host| policy.host(host).map(drop))?;
    hold(&begun.rooted, &campaign)?;
    let chosen = Chosen { named: hosts.clone(), hosts };
    let reached =
        reach(session, who, &begun, &chosen, Needs { root: true, brings: Some(brings(session, builder)), gate: None })?;
    let (ready, mut reports) = partition_ready(who, &chosen, reached, session.talk.as_ref())?;
    let (ready, done): (Vec<Ready>, Vec<Ready>) = ready.into_iter().partition(|one| !was_done(&campaign, one));
    for one in done {
        if let Some(item) = campaign.hosts.get_mut(&one.host) {
            item.state = State::Ended(Outcome::Done);
            reports.push(Report::as_it_is(&one.host, &one.target.survey, item.plan.clone(), Outcome::Done));
        }
    }
    show(ready.iter().filter_map(|one| campaign.hosts.get(&one.host)), session.talk.as_ref());
    decide(session, who, how, begun, campaign, &ready, reports)
}

/// Whether a host finished on its own after the deployer had lost it.
fn was_done(campaign: &Campaign, ready: &Ready) -> bool {
    let survey = &ready.target.survey;
    let item = campaign.hosts.get(&ready.host);
    item.is_some_and(|item| {
        item.state == State::Begun
            && survey.former.as_ref() == Some(&item.plan.system)
            && survey
                .last
                .as_ref()
                .is_some_and(|last| last.system.as_ref() == Some(&item.plan.system) && last.outcome == Outcome::Done)
    })
}

/// Protects the systems of an existing plan from garbage collection.
fn hold(rooted: &Rooted, campaign: &Campaign) -> Result<()> {
    let links: Vec<(String, &str)> = campaign
        .hosts
        .iter()
        .flat_map(|(host, item)| {
            let bundle = item.bundle.as_deref().map(|bundle| (format!("bundle-{host}"), bundle));
            // What was built on the host is not in this store; the host itself checks whether it still exists.
            let ours = !item.there;
            let system = (ours && !item.plan.only_homes).then(|| (Rooted::name_of(host), item.plan.system.as_str()));
            let homes = item.plan.homes_to_come().filter(move |_| ours);
            let homes = homes.map(move |home| (format!("home-{}@{host}", home.user), home.package.as_str()));
            [system, bundle].into_iter().flatten().chain(homes)
        })
        .collect();
    for (_, path) in &links {
        if !closure::is_store_path(path) {
            return Err(Error::usage("what the plan names as a system is not a store path"));
        }
    }
    let links: Vec<(&str, &str)> = links.iter().map(|(name, path)| (name.as_str(), *path)).collect();
    rooted.hold(&links).map_err(|error| {
        Error::failed("what was planned is not in the store any more; nothing was changed")
            .because(error.in_one_line())
            .help(format!(
                "plan again: `sealift plan {}`",
                campaign.hosts.keys().map(HostName::as_str).collect::<Vec<_>>().join(" ")
            ))
    })
}
