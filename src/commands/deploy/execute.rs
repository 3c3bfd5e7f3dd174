//! Carries out a plan: the canary first, then the other hosts in parallel. Each host is a transaction of its own; a
//! failure does not stop hosts that have begun.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::adapters::nix::store;
use crate::adapters::process::parallel;
use crate::adapters::signals;
use crate::commands::deploy::report::Report;
use crate::commands::deploy::request::How;
use crate::commands::deploy::run_store::Kept;
use crate::commands::deploy::watch::Watch;
use crate::commands::hosts::client::hand_over;
use crate::commands::hosts::connection::{Target, Transport};
use crate::commands::hosts::select::{Ready, Who};
use crate::commands::hosts::talk::OfHost;
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::checks::{checks, with_commands};
use crate::domain::deploy::diff::Outcome;
use crate::domain::deploy::plan::{Campaign, Item, State};
use crate::domain::deploy::protocol::{HostCommand, Profile, Switch};
use crate::domain::foreign::{LONGEST, cut};
use crate::domain::name::{HostName, Tag};
use crate::domain::policy::Policy;
use crate::error::{Error, Result};

/// The largest number of copied paths to report.
const COPIED: usize = 20_000;

/// Carries out the plan on these hosts, with a limit on how many at once.
pub fn carry_out(
    policy: &Policy,
    kept: &Kept,
    who: &Who,
    how: &How,
    ready: &[&Ready],
    talk: &Arc<dyn Talk>,
) -> Vec<Report> {
    let (canary, groups) = (kept.campaign().canary, Groups::of(policy));
    let is_canary = |host: &HostName| canary.as_ref() == Some(host);
    // Watches the hosts that others wait for or, if no host waits for another, all of them.
    let waves = ready.iter().any(|one| is_canary(&one.host) || !groups.of_host(policy, &one.host).is_empty());
    let is_watched = |host: &HostName| {
        !how.soak.is_zero() && (!waves || is_canary(host) || !groups.of_host(policy, host).is_empty())
    };
    let (first, others): (Vec<&Ready>, Vec<&Ready>) = ready.iter().copied().partition(|one| is_canary(&one.host));
    let failed = AtomicBool::new(false);
    let one = |ready: &&Ready| {
        let campaign = kept.campaign();
        let Some(item) = campaign.hosts.get(&ready.host) else {
            return Report::failed(&ready.host, Error::failed("it is not in the plan"));
        };
        let stop = |why: &str| {
            let error = Error::failed(format!("not begun: {why}"))
                .help("`sealift deploy --resume` deploys to the remaining hosts");
            Report::early(&ready.host, Some(item.plan.clone()), Outcome::Skipped, Some(error))
        };
        if failed.load(Ordering::Relaxed) {
            return stop("another host failed");
        }
        if signals::pending() {
            return stop("interrupted");
        }
        let talk = OfHost::among(talk, &ready.host, campaign.hosts.len());
        let watched = is_watched(&ready.host) && item.plan.changes_the_system();
        let watch = watched.then(|| Watch::begin(policy, &who.caller, how, ready, &item.plan));
        let began = Instant::now();
        let deployed = parallel::alone(|| host(policy, kept, (who, how), ready, item, &talk));
        let mut report = deployed.unwrap_or_else(|error| {
            Report::early(&ready.host, Some(item.plan.clone()), outcome_of(&error), Some(error))
        });
        if report.outcome == Outcome::Lost {
            // The name with which `--attach` follows it again.
            report.run = Some(campaign.run.clone());
        }
        report.seconds = Some(began.elapsed().as_secs_f64());
        // A system that runs only from the next boot on cannot be watched yet.
        if let Some(watch) = watch.filter(|_| report.outcome == Outcome::Done) {
            report = watch.to_the_end(report, &talk);
        }
        if let Err(error) = kept.set(&ready.host, State::Ended(report.outcome)) {
            talk.event(Event::Warning(format!("`--resume` will not know of this: {}", error.in_one_line())));
        }
        let well = State::Ended(report.outcome).is_success();
        if !well && (how.fail_fast || is_canary(&ready.host) || is_watched(&ready.host)) {
            failed.store(true, Ordering::Relaxed);
        }
        // Its line would keep the last step while others are at work.
        if campaign.hosts.len() > 1 {
            talk.event(Event::Step(report.outcome.as_str().to_owned()));
        }
        report
    };
    let mut reports = parallel::map_on(1, &first, one);
    let of = |ready: &&Ready| groups.of_host(policy, &ready.host);
    reports.extend(parallel::map_limited(who.places(policy, true), &groups.limits, &others, of, one));
    reports
}

/// Tags that limit how many of their hosts are deployed at once.
struct Groups<'a> {
    tags: Vec<&'a Tag>,
    limits: Vec<usize>,
}

impl<'a> Groups<'a> {
    fn of(policy: &'a Policy) -> Self {
        let (tags, limits) = policy.deploy.at_most.iter().map(|(tag, most)| (tag, *most as usize)).unzip();
        Self { tags, limits }
    }

    /// Returns the groups of a host, as indices into the limits.
    fn of_host(&self, policy: &Policy, host: &HostName) -> Vec<usize> {
        let tags = policy.hosts.get(host).map(|host| &host.tags);
        let has = |tag: &Tag| tags.is_some_and(|tags| tags.contains(tag));
        self.tags.iter().enumerate().filter(|(_, tag)| has(tag)).map(|(at, _)| at).collect()
    }
}

/// Returns the outcome for a deploy that ended with an error instead of a result.
fn outcome_of(error: &Error) -> Outcome {
    use crate::error::Kind;
    match error.kind() {
        Kind::Unreachable => Outcome::Lost,
        Kind::NeedsOperator => Outcome::NeedsOperator,
        _ => Outcome::Failed,
    }
}

/// Deploys one host: copies the system, then sends the request.
fn host(
    policy: &Policy,
    kept: &Kept,
    (who, how): (&Who, &How),
    ready: &Ready,
    item: &Item,
    talk: &dyn Talk,
) -> Result<Report> {
    let Ready { host, target, rights } = ready;
    let (plan, patience) = (&item.plan, &how.patience);
    let Campaign { run, commit, .. } = kept.campaign();
    copy(policy, how, target, item, talk)?;
    let acknowledge = target.is_remote().then_some(patience.acknowledge);
    let switch = Switch {
        bundle: item.bundle.clone(),
        checks: with_commands(&checks(policy, host), &plan.commands),
        engine: policy.deploy.engine,
        commit,
        link: how.link.clone(),
        ..plan.switch(Profile::New, patience.settle, acknowledge)
    };
    let mut host_request = target.request(&who.caller, HostCommand::Switch(Box::new(switch)))?;
    host_request.run.clone_from(&run);
    kept.set(host, State::Begun)?;
    if let (Transport::Remote(remote), Some(address)) = (&target.transport, &patience.ack_address) {
        remote.moves_to(address);
    }
    let result = hand_over(target, &host_request, rights, &who.caller, talk)?;
    Ok(Report::of(target, plan.clone(), &run, result))
}

/// Copies the system to another machine's store, unless it is running there. Only ciphertext is transferred.
fn copy(policy: &Policy, how: &How, target: &Target, item: &Item, talk: &dyn Talk) -> Result<()> {
    let Transport::Remote(remote) = &target.transport else { return Ok(()) };
    let runs = target.survey.former.as_ref() == Some(&item.plan.system);
    let system = Some(&item.plan.system).filter(|_| !item.there && !runs);
    let homes = item.plan.homes_to_come().filter(|_| !item.there).map(|home| &home.package);
    let paths = [system, item.bundle.as_ref()].into_iter().flatten().chain(homes);
    let paths: Vec<&str> = paths.map(String::as_str).collect();
    if paths.is_empty() {
        return Ok(());
    }
    if let Some(key) = &policy.deploy.sign_key {
        store::sign(&paths, &at_home(key, how.home.as_deref()))?;
    }
    talk.event(Event::Step("copying the system".to_owned()));
    let mut told = 0;
    store::copy_to(&remote.connection().store(), &paths, |line| {
        // The remote nix prints such lines too, without limit.
        if let Some(name) = copied(line).filter(|_| told < COPIED) {
            told += 1;
            talk.event(Event::Step(format!("  copying {}", cut(name, LONGEST))));
        }
    })
}

/// Returns the store path that a line of nix says is being copied, without folder and hash.
fn copied(line: &str) -> Option<&str> {
    let path = line.strip_prefix("copying path '")?.split('\'').next()?;
    let name = path.rsplit('/').next()?;
    Some(name.split_once('-').map_or(name, |(_, name)| name))
}

/// Expands a leading `~/`.
fn at_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::copied;

    #[test]
    fn what_is_copied_is_named_without_hash_and_place() {
        let line = |path: &str| format!("copying path '{path}' to 'ssh-ng://web'...");
        assert_eq!(copied(&line("/nix/store/55ks0lf6nxw69791vrry1zf9s2p5jpaq-app-token.age")), Some("app-token.age"));
        assert_eq!(copied(&line("/odd")), Some("odd"));
        assert_eq!(copied("copying path '"), Some(""));
        assert_eq!(copied("building '/nix/store/a-b.drv'..."), None);
    }
}
