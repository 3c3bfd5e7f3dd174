//! The report of a deploy or rollback for each host.

use serde::Serialize;

use crate::adapters::host::run_dir;
use crate::commands::hosts::connection::Target;
use crate::commands::hosts::ready::together;
use crate::commands::hosts::select::{Chosen, Ready, Who, named};
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::diff::Outcome;
use crate::domain::deploy::host_facts::Survey;
use crate::domain::deploy::plan::{Plan, VERSION};
use crate::domain::deploy::protocol::{DeployResult, Failure};
use crate::domain::drift::same::{self, grouped};
use crate::domain::name::HostName;
use crate::error::{Error, Kind, Result};

/// The result of a deploy or rollback on one host.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this format: 1.
    pub version: u32,
    pub host: Option<HostName>,
    pub outcome: Outcome,
    /// Why it did not succeed.
    pub reason: Option<String>,
    /// The system to deploy, if one was built.
    pub system: Option<String>,
    /// The system running now.
    pub running: Option<String>,
    /// The current generation of the system profile.
    pub generation: Option<u64>,
    /// The generation of the previously running system, the target of a rollback. None if it was in no generation.
    pub before: Option<u64>,
    /// Whether the delivered secrets last only until the next reboot.
    pub until_reboot: bool,
    /// The plan, if the systems were compared.
    pub plan: Option<Plan>,
    /// The name of the run, whose log is on the host.
    pub run: Option<String>,
    pub log: Option<String>,
    /// How long the host took, in seconds.
    pub seconds: Option<f64>,
    /// The error itself, with its help.
    #[serde(skip)]
    pub failure: Option<Error>,
}

impl Report {
    /// The report for a host that ended before the agent sent a result.
    pub fn early(host: &HostName, plan: Option<Plan>, outcome: Outcome, failure: Option<Error>) -> Self {
        Self::new(Some(host.clone()), plan, outcome, failure)
    }

    fn new(host: Option<HostName>, plan: Option<Plan>, outcome: Outcome, failure: Option<Error>) -> Self {
        Self {
            version: VERSION,
            host,
            outcome,
            reason: failure.as_ref().map(Error::in_one_line),
            system: plan.as_ref().map(|plan| plan.system.clone()),
            running: None,
            generation: None,
            before: None,
            until_reboot: false,
            plan,
            run: None,
            log: None,
            seconds: None,
            failure,
        }
    }

    /// The report for a failure before there was a plan.
    pub fn failed(host: &HostName, error: Error) -> Self {
        Self::early(host, None, Outcome::Failed, Some(error))
    }

    /// The report for a host that stays unchanged.
    pub fn as_it_is(host: &HostName, survey: &Survey, plan: Plan, outcome: Outcome) -> Self {
        let (running, generation) = (survey.former.clone(), survey.generation);
        Self { running, generation, ..Self::early(host, Some(plan), outcome, None) }
    }

    /// The report for a result sent by the agent.
    pub fn of(target: &Target, plan: Plan, run: &str, result: DeployResult) -> Self {
        let survey = &target.survey;
        let reason = result.failure.as_ref().map(Failure::reason);
        let failure = result.failure.map(Failure::into_error);
        Self {
            reason,
            running: result.running,
            generation: result.generation,
            before: survey.generation.filter(|_| survey.next == survey.former),
            until_reboot: result.until_reboot,
            run: Some(run.to_owned()),
            log: Some(run_dir::log_of(run)),
            ..Self::new(target.host.clone(), Some(plan), result.outcome, failure)
        }
    }
}

/// Returns the hosts that are ready, and the reports of the others.
pub fn partition_ready(
    who: &Who,
    chosen: &Chosen,
    reached: Vec<(HostName, Result<Ready>)>,
    talk: &dyn Talk,
) -> Result<(Vec<Ready>, Vec<Report>)> {
    let (mut ready, mut reports, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let mut skipped = Vec::new();
    for (host, outcome) in reached {
        match outcome {
            Ok(one) => ready.push(one),
            Err(error) if who.require_all => problems.push(named(&host, error)),
            Err(error) if is_offline(&error) && !chosen.named.contains(&host) => {
                reports.push(Report::early(&host, None, Outcome::Skipped, None));
                skipped.push((host, error));
            }
            Err(error) => reports.push(Report::failed(&host, error)),
        }
    }
    warnings(&skipped).into_iter().for_each(|line| talk.event(Event::Warning(line)));
    if problems.is_empty() { Ok((ready, reports)) } else { Err(together(problems)) }
}

/// What is said of skipped hosts: once for all that are offline for the same reason.
fn warnings(skipped: &[(HostName, Error)]) -> Vec<String> {
    let rows = skipped.iter().map(|(host, error)| {
        let alone = error.in_one_line();
        let alone = alone.strip_prefix(&format!("{host}: ")).unwrap_or(&alone).to_owned();
        let summary = error.summary().map_or_else(|| alone.clone(), str::to_owned);
        ((host, alone), summary)
    });
    let told = grouped(rows).into_iter().map(|(summary, hosts)| match &hosts[..] {
        [(host, alone)] => format!("{host} is skipped: {alone}"),
        hosts => {
            let hosts: Vec<&HostName> = hosts.iter().map(|(host, _)| *host).collect();
            format!("{} are skipped: {summary}", same::hosts(&hosts))
        }
    });
    told.collect()
}

/// Whether a host is only offline, as opposed to answering with another key.
fn is_offline(error: &Error) -> bool {
    error.kind() == Kind::Unreachable && error.is_passing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_hosts_are_skipped_is_said_once() {
        let off = |host: &str, what: &str| {
            let error = Error::new(Kind::Unreachable, format!("{host}: jay@{host} {what}")).passing();
            (host.parse().unwrap(), error.with_summary(what).help("is it on?"))
        };
        assert_eq!(warnings(&[off("a", "is off")]), ["a is skipped: jay@a is off"]);
        assert_eq!(
            warnings(&[off("a", "is off"), off("b", "has no route"), off("c", "is off")]),
            ["a, c (2 hosts) are skipped: is off", "b is skipped: jay@b has no route"]
        );
    }
}
