//! `deploy`, `plan` and `apply`: make the fleet's systems the ones that run on its machines, with their secrets, or leave
//! them as they were.
//!
//! Here is the deployer's side: look, build as the caller, plan, ask. What follows is done by the program on each host
//! (`agent`), which does not depend on this one any more.

pub mod attach;
mod build;
pub mod closure_scan;
mod difference;
pub mod etc_nixos;
pub mod execute;
pub mod generations;
pub mod preflight;
pub mod report;
pub mod request;
pub mod rollback;
pub mod run_store;
mod watch;

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use crate::adapters::host::run_dir;
use crate::adapters::process::parallel;
use crate::adapters::signals;
use crate::commands::Session;
use crate::commands::deploy::build::{Built, propose};
use crate::commands::deploy::report::{Report, muster};
use crate::commands::deploy::request::{Builder, Request};
use crate::commands::deploy::run_store::{Begun, Kept, Store};
use crate::commands::hosts::bootstrap::Brought;
use crate::commands::hosts::ready::{Brings, together};
use crate::commands::hosts::select::{Chosen, Needs, Ready, reach_all};
use crate::commands::hosts::talk::{OfHost, listed};
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::diff::{Action, Outcome};
use crate::domain::deploy::host_facts::Survey;
use crate::domain::deploy::plan::{Campaign, Item, Plan, State, VERSION};
use crate::domain::deploy::shown::shown;
use crate::domain::name::HostName;
use crate::error::{Error, Kind, Result};

/// Deploys.
///
/// An error means that no host had to do with it, and nothing was changed. What it came to on each host is in the reports.
pub fn run(session: &Session, request: &Request) -> Result<Vec<Report>> {
    let Start { fleet, begun, chosen, reached } = begin(session, request, true)?;
    if request.action == Action::Build {
        let built = build::build(session, &fleet, &begun.rooted, request, &chosen.hosts)?;
        begun.drop_it();
        return Ok(built.into_iter().map(|(host, system)| of_built(&host, system)).collect());
    }
    let (ready, mut reports) = muster(&request.who, &chosen, reached, session.talk.as_ref())?;
    let (campaign, ready) = plan_of(session, request, &fleet, &begun, ready, &mut reports)?;
    decide(session, request, begun, campaign, &ready, reports)
}

/// Plans a deploy. The plan, and what is in the way of hosts that are not in it. With `keep` its systems stay in the
/// store for `apply`.
pub fn plan(session: &Session, request: &Request, keep: bool) -> Result<(Campaign, Vec<Report>)> {
    let Start { fleet, begun, chosen, reached } = begin(session, request, false)?;
    let (ready, mut reports) = muster(&request.who, &chosen, reached, session.talk.as_ref())?;
    let (campaign, _) = plan_of(session, request, &fleet, &begun, ready, &mut reports)?;
    if keep && !campaign.hosts.is_empty() {
        begun.stay()?;
    } else {
        begun.drop_it();
    }
    Ok((campaign, reports))
}

/// Carries out a plan that was reviewed: exactly its systems and its ciphertext.
///
/// Fails as `run` does; and when a system of it is not in the store any more.
pub fn apply(session: &Session, request: &Request, file: &Path) -> Result<Vec<Report>> {
    let planned = run_store::read(file)?;
    let git = session.fleet.git()?;
    let begun = Store::of(&git, &session.fleet.root)?.begin()?;
    let campaign = Campaign { run: begun.run.clone(), ..planned };
    again(session, request, begun, campaign)
}

/// Takes up every deploy that is not done on all its hosts: the same systems, on the hosts that are left.
pub fn resume(session: &Session, request: &Request) -> Result<Vec<Report>> {
    let git = session.fleet.git()?;
    let store = Store::of(&git, &session.fleet.root)?;
    let mut open = store.left()?;
    if open.len() == 1 {
        return open
            .pop()
            .map_or_else(|| Ok(Vec::new()), |(former, planned)| take_up(session, request, &store, former, planned));
    }
    let mut reports = Vec::new();
    for (former, planned) in open {
        let first = planned.left().into_iter().next();
        match (take_up(session, request, &store, former, planned), first) {
            (Ok(taken), _) => reports.extend(taken),
            // The others are not lost by it.
            (Err(error), Some(host)) => reports.push(Report::early(&host, None, Outcome::Failed, Some(error))),
            (Err(error), None) => return Err(error),
        }
    }
    Ok(reports)
}

/// Takes up one of them. What is not well after it is left still.
fn take_up(
    session: &Session,
    request: &Request,
    store: &Store,
    former: Begun,
    planned: Campaign,
) -> Result<Vec<Report>> {
    let begun = store.begin()?;
    let left = planned.left();
    let mut campaign = Campaign { run: begun.run.clone(), ..planned };
    campaign.hosts.retain(|host, _| left.contains(host));
    // A canary that is well has gone first.
    campaign.canary = campaign.canary.filter(|canary| left.contains(canary));
    session.note(format!("resuming {} for {}", former.run, listed(&left)));
    let reports = again(session, request, begun, campaign)?;
    let well = |report: &&Report| State::Ended(report.outcome).is_well();
    former.settle(|host| reports.iter().filter(well).any(|report| report.host.as_ref() == Some(host)))?;
    Ok(reports)
}

/// Carries out what was planned before.
fn again(session: &Session, request: &Request, begun: Begun, mut campaign: Campaign) -> Result<Vec<Report>> {
    let policy = &session.fleet.policy;
    let hosts = campaign.hosts.keys().cloned().collect();
    if let Some(gone) = campaign.hosts.keys().find(|host| !policy.hosts.contains_key(host.as_str())) {
        return Err(policy.no_host(gone));
    }
    build::hold(&begun.rooted, &campaign)?;
    let chosen = Chosen { named: std::collections::BTreeSet::clone(&hosts), hosts };
    let reached = reach(session, request, &begun, &chosen, true, None)?;
    let (ready, mut reports) = muster(&request.who, &chosen, reached, session.talk.as_ref())?;
    let (ready, done): (Vec<Ready>, Vec<Ready>) = ready.into_iter().partition(|one| !was_done(&campaign, one));
    for one in done {
        if let Some(item) = campaign.hosts.get_mut(&one.host) {
            item.state = State::Ended(Outcome::Done);
            reports.push(Report {
                running: one.target.survey.former.clone(),
                generation: one.target.survey.generation,
                ..Report::early(&one.host, Some(item.plan.clone()), Outcome::Done, None)
            });
        }
    }
    show(ready.iter().filter_map(|one| campaign.hosts.get(&one.host)), session.talk.as_ref());
    decide(session, request, begun, campaign, &ready, reports)
}

/// Whether a host finished by itself what this deployer did not see the end of.
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

/// What a deploy goes on with, once all is found to be in place.
struct Start {
    fleet: preflight::Ready,
    begun: Begun,
    chosen: Chosen,
    /// None where no host has to do with it.
    reached: Vec<(HostName, Result<Ready>)>,
}

/// What every deploy begins with: the fleet's own problems, and with them those of its hosts, all at once. Hosts are
/// reached while the fleet is looked at.
fn begin(session: &Session, request: &Request, root: bool) -> Result<Start> {
    let talk = session.talk.as_ref();
    talk.event(Event::Step("checking the preconditions".to_owned()));
    let chosen = request.who.choose(&session.fleet.policy)?;
    let git = session.fleet.git().map_err(|error| error.of_kind(Kind::Usage))?;
    let begun = Store::of(&git, &session.fleet.root)?.begin()?;
    let gate = RwLock::new(false);
    let mut well = gate.write().unwrap_or_else(PoisonError::into_inner);
    let (fleet, reached) = std::thread::scope(|scope| {
        let reaching = (request.action != Action::Build)
            .then(|| scope.spawn(|| reach(session, request, &begun, &chosen, root, Some(&gate))));
        let fleet = preflight::fleet(&session.fleet, git, request.flake.as_deref(), session.today, talk);
        *well = fleet.is_ok();
        drop(well);
        let failed = |_| Err(Error::new(Kind::Bug, "the thread that reaches the hosts failed"));
        (fleet, reaching.map_or_else(|| Ok(Vec::new()), |reaching| reaching.join().unwrap_or_else(failed)))
    });
    match fleet {
        Ok(fleet) => Ok(Start { fleet, begun, chosen, reached: reached? }),
        Err(mut problems) => {
            begun.drop_it();
            problems.extend(reached?.into_iter().filter_map(|(_, one)| one.err()));
            Err(together(problems))
        }
    }
}

/// Reaches the hosts of a deploy.
fn reach(
    session: &Session,
    request: &Request,
    begun: &Begun,
    chosen: &Chosen,
    root: bool,
    gate: Option<&RwLock<bool>>,
) -> Result<Vec<(HostName, Result<Ready>)>> {
    let policy = &session.fleet.policy;
    let brings = Brings { signed: policy.deploy.sign_key.is_some(), builds: request.builder == Builder::Target };
    let brought = Brought::new(request.who.host_program.clone(), begun.rooted.folder().to_owned());
    let needs = Needs { root, brings: Some(brings), gate };
    reach_all(policy, &request.who, chosen, needs, Some(&brought), &session.talk)
}

/// Builds and compares. Hosts for which that fails go into the reports.
fn plan_of(
    session: &Session,
    request: &Request,
    fleet: &preflight::Ready,
    begun: &Begun,
    ready: Vec<Ready>,
    reports: &mut Vec<Report>,
) -> Result<(Campaign, Vec<Ready>)> {
    let count = ready.len() + reports.len();
    signals::check()?;
    let mut hosts = std::collections::BTreeMap::new();
    let mut going = Vec::new();
    let built = if request.only_homes {
        build::running(ready)
    } else {
        build::build_for(session, fleet, &begun.rooted, request, ready)?
    };
    let built = build::with_homes(session, fleet, &begun.rooted, request, built);
    let places = request.who.places(&session.fleet.policy, true);
    let items = parallel::map_on(places, &built, |(one, built): &(Ready, Result<Built>)| {
        let talk = OfHost::among(&session.talk, &one.host, count);
        built.as_ref().ok().map(|built| propose(session, request, begun, one, built, &talk))
    });
    for ((one, built), item) in built.into_iter().zip(items) {
        // What was not built was not compared.
        match item.unwrap_or_else(|| Err(built.err().unwrap_or_else(|| Error::failed("nix did not build it")))) {
            Ok(item) => {
                hosts.insert(one.host.clone(), item);
                going.push(one);
            }
            Err(error) => reports.push(Report::early(&one.host, None, Outcome::Failed, Some(error))),
        }
    }
    show(hosts.values(), session.talk.as_ref());
    let campaign = Campaign {
        version: VERSION,
        run: begun.run.clone(),
        planned: run_dir::now(),
        commit: fleet.git.revision(),
        action: request.action,
        canary: request.canary.clone().or_else(|| session.fleet.policy.deploy.canary.clone()),
        hosts,
    };
    Ok((campaign, going))
}

fn show<'a>(items: impl Iterator<Item = &'a Item>, talk: &dyn Talk) {
    let plans: Vec<&Plan> = items.map(|item| &item.plan).collect();
    talk.event(Event::Plan(shown(&plans)));
}

/// Asks, and carries out what was shown.
fn decide(
    session: &Session,
    request: &Request,
    begun: Begun,
    mut campaign: Campaign,
    ready: &[Ready],
    mut reports: Vec<Report>,
) -> Result<Vec<Report>> {
    let talk = &session.talk;
    if let Some(canary) = request.canary.as_ref().filter(|canary| !campaign.hosts.contains_key(canary.as_str())) {
        begun.drop_it();
        return Err(Error::usage(format!("{canary} cannot go first: it is not among the hosts that are ready")));
    }
    let (mut going, mut stopped) = (Vec::new(), Vec::new());
    for one in ready {
        match campaign.hosts.get(&one.host).map(|item| &item.plan) {
            Some(plan) if !request.yes && is_as_planned(request, plan, &one.target.survey) => {
                let generation = one.target.survey.generation;
                let report = Report::early(&one.host, Some(plan.clone()), Outcome::Nothing, None);
                stopped.push(Report { running: plan.former.clone(), generation, ..report });
            }
            Some(plan) if plan.action == Action::Test && !plan.live() => stopped.push(needs_reboot(&one.host, plan)),
            Some(_) => going.push(one),
            None => {}
        }
    }
    for report in &stopped {
        report.host.iter().for_each(|host| drop(campaign.hosts.remove(host.as_str())));
    }
    reports.append(&mut stopped);
    if going.is_empty() {
        begun.drop_it();
        return Ok(reports);
    }
    if let Err(error) = closure_scan::look(session, &request.inspect, &campaign) {
        begun.drop_it();
        return Err(error);
    }
    signals::check()?;
    let names = listed(going.iter().map(|one| &one.host));
    let asks = campaign.action != Action::DryActivate && !request.yes;
    if asks && !talk.confirm(&format!("Deploy this to {names}?"))? {
        begun.drop_it();
        reports.extend(going.into_iter().map(|one| declined(&one.host, &campaign)));
        return Ok(reports);
    }
    let kept: Kept = begun.keep(campaign)?;
    let policy = &session.fleet.policy;
    let places = request.who.places(policy, true);
    reports.extend(execute::carry_out(policy, &kept, &request.how, places, &going, talk));
    kept.end();
    reports.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(reports)
}

/// Whether a host is what the plan would make it, so that nobody has to be asked. With `--yes` it is activated again even so.
fn is_as_planned(request: &Request, plan: &Plan, survey: &Survey) -> bool {
    let runs = plan.former.as_ref() == Some(plan.activates());
    let boots = plan.action == Action::Test || survey.next.as_ref() == Some(&plan.system);
    let switches = matches!(plan.action, Action::Test | Action::Switch);
    let delivered = plan.secrets.is_empty() && !plan.until_reboot;
    let well = !survey.unfinished && survey.busy.is_none();
    let homes = plan.homes_to_come().next().is_none();
    switches && well && homes && (plan.only_homes || runs && boots && delivered && request.how.link.is_none())
}

fn declined(host: &HostName, campaign: &Campaign) -> Report {
    let error = Error::failed("declined; nothing was changed").help("`--yes` deploys without asking");
    let plan = campaign.hosts.get(host.as_str()).map(|item: &Item| item.plan.clone());
    Report::early(host, plan, Outcome::Declined, Some(error))
}

fn needs_reboot(host: &HostName, plan: &Plan) -> Report {
    let error = Error::failed("it cannot be activated without a reboot")
        .because(plan.reboot.blocks.join("\n"))
        .help("make it what boots next: `--action boot`");
    Report::early(host, Some(plan.clone()), Outcome::Failed, Some(error))
}

fn of_built(host: &HostName, system: Result<String>) -> Report {
    match system {
        Ok(system) => Report { system: Some(system), ..Report::early(host, None, Outcome::Done, None) },
        Err(error) => Report::early(host, None, Outcome::Failed, Some(error)),
    }
}
