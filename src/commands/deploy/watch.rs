//! Watches a deployed host before others follow it, and rolls it back if its checks get worse.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::adapters::process::parallel;
use crate::adapters::signals;
use crate::commands::agent::caller::Caller;
use crate::commands::deploy::report::Report;
use crate::commands::deploy::request::How;
use crate::commands::deploy::rollback::undo;
use crate::commands::hosts::connection::Transport;
use crate::commands::hosts::select::Ready;
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::checks::{checks, with_commands};
use crate::domain::deploy::diff::Outcome;
use crate::domain::deploy::host_facts::Question;
use crate::domain::deploy::plan::Plan;
use crate::domain::deploy::protocol::{Failure, HostCommand, HostEvent, Look};
use crate::domain::deploy::soak::{Next, Soak};
use crate::domain::policy::Policy;
use crate::error::{Error, Kind, Result};

/// How often to check for Ctrl-C.
const ATTENTIVE: Duration = Duration::from_millis(100);

/// A host, and the problems it had before the deploy.
pub struct Watch<'a> {
    policy: &'a Policy,
    caller: &'a Caller,
    how: &'a How,
    ready: &'a Ready,
    checks: Vec<Look>,
    before: BTreeSet<String>,
}

impl<'a> Watch<'a> {
    /// Records the problems of a host before it is deployed.
    pub fn begin(policy: &'a Policy, caller: &'a Caller, how: &'a How, ready: &'a Ready, plan: &Plan) -> Self {
        let checks = with_commands(&checks(policy, &ready.host), &plan.commands);
        let mut watch = Self { policy, caller, how, ready, checks, before: BTreeSet::new() };
        // A host that cannot answer yet counts as having no problems.
        watch.before =
            parallel::alone(|| watch.wrong()).unwrap_or_default().into_iter().map(|(what, _)| what).collect();
        watch
    }

    /// Returns the current problems: failed checks and failed units.
    fn wrong(&self) -> Result<Vec<(String, String)>> {
        let Ready { target, rights, .. } = self.ready;
        let mut wrong = Vec::new();
        if !self.checks.is_empty()
            && let HostEvent::Verified(verified) =
                target.ask(rights, self.caller, HostCommand::Verify(self.checks.clone()))?
        {
            let failed = verified.checks.into_iter().filter_map(|(name, why)| Some((format!("check {name}"), why?)));
            wrong.extend(failed);
        }
        let failed = target.survey(self.caller, Question::default())?.failed.unwrap_or_default();
        wrong.extend(failed.into_iter().map(|unit| (format!("unit {unit}"), "it failed".to_owned())));
        Ok(wrong)
    }

    /// Watches the host for the configured time. Returns the report with the result.
    pub fn to_the_end(&self, report: Report, talk: &dyn Talk) -> Report {
        talk.event(Event::Step(format!("watching it for {}", shown(self.how.soak))));
        let mut soak = Soak::new(self.how.soak, Duration::from_secs(self.how.patience.settle));
        let began = Instant::now();
        loop {
            let found = parallel::alone(|| self.wrong()).map(|wrong| {
                let worse = wrong.into_iter().filter(|(what, _)| !self.before.contains(what));
                worse.map(|(what, why)| format!("{what}: {why}")).collect()
            });
            if let (Err(_), Transport::Remote(remote)) = (&found, &self.ready.target.transport) {
                // Only the connection may be gone. If the host is gone too, the next query fails again.
                let _gone = remote.reconnect();
            }
            match soak.looked(began.elapsed(), found.ok()) {
                Next::Wait(time) => {
                    let end = Instant::now() + time;
                    while Instant::now() < end && !signals::pending() {
                        std::thread::sleep(ATTENTIVE.min(end.saturating_duration_since(Instant::now())));
                    }
                    if signals::pending() {
                        talk.event(Event::Warning("no longer watched; it stays as it is".to_owned()));
                        return report;
                    }
                }
                Next::Well => {
                    talk.event(Event::Step(format!("well for {}", shown(self.how.soak))));
                    return report;
                }
                Next::Lost => {
                    let words = self.ready.target.words();
                    let error = Error::new(Kind::Unreachable, "it stopped answering while it was watched").help(
                        format!("`sealift status{words}` once it is back; `sealift rollback{words}` takes it back"),
                    );
                    return ended(report, Outcome::Lost, error);
                }
                Next::Back(worse) => return self.back(report, &worse, talk),
            }
        }
    }

    fn back(&self, report: Report, worse: &[String], talk: &dyn Talk) -> Report {
        let worse = worse.join("\n");
        talk.event(Event::Step("its checks got worse: going back".to_owned()));
        let failed = |text: &str, kind| Error::new(kind, text).because(worse.clone());
        let undone = parallel::alone(|| undo(self.policy, self.ready, self.caller, &self.how.patience, &report, talk))
            .and_then(|result| match result.failure {
                Some(failure) => Err(Failure::into_error(failure)),
                None => Ok(result),
            });
        match undone {
            Ok(result) => Report {
                running: result.running,
                generation: result.generation,
                until_reboot: result.until_reboot,
                ..ended(
                    report,
                    Outcome::RolledBack,
                    failed("its checks failed while it was watched, and it was rolled back", Kind::RolledBack),
                )
            },
            Err(error) => {
                let both = format!("{worse}\n{}", error.in_one_line());
                let error = Error::new(
                    Kind::NeedsOperator,
                    "its checks failed while it was watched, and the way back failed too",
                )
                .because(both)
                .help(format!("look at it: `sealift generations{}`", self.ready.target.words()));
                ended(report, Outcome::NeedsOperator, error)
            }
        }
    }
}

fn ended(report: Report, outcome: Outcome, error: Error) -> Report {
    Report { outcome, reason: Some(error.in_one_line()), failure: Some(error), ..report }
}

/// Formats a duration.
fn shown(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}
