//! Shows the result of a deploy or rollback, and determines its exit code.

use std::path::Path;

use crate::cli::app::{App, Done, table};
use crate::commands::deploy::attach::Attached;
use crate::commands::deploy::report::Report;
use crate::commands::hosts::talk;
use crate::domain::address::words;
use crate::domain::deploy::diff::{Action, Outcome};
use crate::domain::deploy::plan::Plan;
use crate::domain::name::HostName;
use crate::error::{Error, Kind};

/// Shows the results of a deploy: several hosts as a table. The last lines say what happened, and what to do next.
pub fn show_all(mut reports: Vec<Report>, root: &Path, json: bool, app: &App) -> Done {
    app.ui.end_progress();
    if json {
        for report in &reports {
            app.ui.json_line(&Line { event: "result", report })?;
        }
    }
    if let (1, Some(_)) = (reports.len(), reports.first()) {
        return reports.pop().map_or(Ok(None), |report| show_one(report, root, app));
    }
    // If all hosts were declined, the error is shown once.
    if reports.iter().all(|report| report.outcome == Outcome::Declined) {
        return reports.pop().and_then(|report| report.failure).map_or(Ok(None), |failure| Err(failure.into()));
    }
    if !json && !app.ui.printer().is_quiet() {
        let mut rows = vec![["host", "outcome", "time", "generation", "next"].map(str::to_owned).to_vec()];
        rows.extend(reports.iter().map(|report| row(report, app)));
        table(app, &rows)?;
    }
    ended(reports, app)
}

/// Returns the failures of all hosts, each naming its hosts once, and their common exit code.
pub fn ended(reports: Vec<Report>, app: &App) -> Done {
    let count = reports.len();
    let mut kinds: Vec<Option<Kind>> = Vec::new();
    let mut failures: Vec<(Vec<HostName>, Error)> = Vec::new();
    for report in reports {
        back_again(&report, app);
        if report.outcome == Outcome::Skipped && report.failure.is_none() {
            continue;
        }
        kinds.push(report.failure.as_ref().map(Error::kind));
        let Some(failure) = report.failure else { continue };
        let failure = if report.outcome == Outcome::RolledBack { why(failure) } else { failure };
        let told = |other: &Error| (format!("{other:?}"), other.advice().map(str::to_owned));
        // The same failure on several hosts is reported once.
        match failures.iter_mut().find(|(_, other)| told(other) == told(&failure)) {
            Some((hosts, _)) => hosts.extend(report.host),
            None => failures.push((report.host.into_iter().collect(), failure)),
        }
    }
    if failures.is_empty() {
        return Ok(None);
    }
    let all = Kind::of_batch(failures.iter().map(|(_, failure)| failure.kind()));
    // If some hosts succeeded, the result is partial.
    let kind = if kinds.contains(&None) && all != Kind::NeedsOperator { Kind::Partial } else { all };
    app.ui.end_progress();
    let wrong = kinds.iter().flatten().count();
    let message = format!("{wrong} of {count} hosts are not as they should be");
    let failures = failures.into_iter().map(|(hosts, failure)| of_hosts(failure, &hosts)).collect();
    Err(if wrong > 1 { Error::all(kind, message, failures) } else { Error::batch(message, failures).of_kind(kind) }
        .into())
}

/// Returns the cause of a rollback, for output that already says it was rolled back.
fn why(failure: Error) -> Error {
    let Some(cause) = std::error::Error::source(&failure).map(ToString::to_string) else { return failure };
    let mut lines = cause.lines();
    let error = Error::all(failure.kind(), lines.next().unwrap_or_default(), failure.parts().to_vec());
    let rest: Vec<&str> = lines.collect();
    let error = if rest.is_empty() { error } else { error.because(rest.join("\n")) };
    failure.advice().map_or(error.clone(), |advice| error.help(advice))
}

/// Adds the hosts to a failure, unless it names its host already.
fn of_hosts(failure: Error, hosts: &[HostName]) -> Error {
    match hosts {
        [] => failure,
        [host] if failure.is_about(host.as_str()) => failure,
        hosts => failure.about(talk::listed(hosts)),
    }
}

fn row(report: &Report, app: &App) -> Vec<String> {
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let host = words(report.host.as_ref(), Path::new("/"));
    let next = match report.outcome {
        Outcome::Done if report.until_reboot => "secrets last until the reboot".to_owned(),
        Outcome::Done if !report.plan.as_ref().is_none_or(|plan| plan.reboot.waits.is_empty()) => {
            "reboot when convenient".to_owned()
        }
        // Reasons and help are printed below, once for all of these hosts.
        Outcome::Done | Outcome::Nothing | Outcome::Declined | Outcome::Failed | Outcome::RolledBack => String::new(),
        Outcome::PendingReboot => "reboot".to_owned(),
        Outcome::Skipped if report.plan.is_some() => app.ui.command("deploy --resume"),
        Outcome::Skipped => "deploy it once it is up".to_owned(),
        Outcome::Lost => {
            let run = report.run.as_ref().map_or_else(String::new, |run| format!(" --attach {run}"));
            app.ui.command(&format!("deploy{host}{run}"))
        }
        Outcome::NeedsOperator => format!("look at it: {}", app.ui.command(&format!("generations{host}"))),
    };
    vec![
        or(report.host.as_ref().map(ToString::to_string)),
        report.outcome.as_str().to_owned(),
        or(report.seconds.map(|seconds| format!("{seconds:.1} s"))),
        or(report.generation.map(|generation| generation.to_string())),
        next,
    ]
}

/// Warns about the older values that a rolled-back host has again.
fn back_again(report: &Report, app: &App) {
    let plan = report.plan.as_ref().filter(|_| report.outcome == Outcome::RolledBack);
    for line in plan.map(Plan::back_again).unwrap_or_default() {
        match &report.host {
            Some(host) => app.ui.warn(&format!("{host}: {line}")),
            None => app.ui.warn(&line),
        }
    }
}

/// Shows the result for one host.
pub fn show_one(report: Report, root: &Path, app: &App) -> Done {
    app.ui.end_progress();
    back_again(&report, app);
    let host = report.host.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string);
    let until = if report.until_reboot { "; its secrets last until the next reboot, then deploy again" } else { "" };
    let generation = report.generation.map_or_else(String::new, |number| format!(" (generation {number})"));
    let previous = report.plan.as_ref().and_then(|plan| plan.former.as_ref());
    let other = previous.is_some_and(|previous| Some(previous) != report.system.as_ref());
    let waits = report.plan.as_ref().map_or(&[][..], |plan| &plan.reboot.waits);
    let reboot = if waits.is_empty() { String::new() } else { format!("; reboot for {}", waits.join(", ")) };
    match report.outcome {
        Outcome::Done if report.plan.is_none() => app.ui.say(&format!("{host}: built; nothing was changed")),
        Outcome::Done if report.plan.as_ref().is_some_and(|plan| plan.only_homes) => {
            let homes = report.plan.iter().flat_map(Plan::homes_to_come);
            let users: Vec<&str> = homes.map(|home| home.user.as_str()).collect();
            if users.is_empty() {
                app.ui.say(&format!("{host}: nothing was changed"));
            } else {
                app.ui.say(&format!("{host}: done, the home of {} is switched", users.join(", ")));
            }
        }
        Outcome::Done => app.ui.say(&format!(
            "{host}: done, {} runs{generation}{reboot}{until}",
            report.running.as_deref().or(report.system.as_deref()).unwrap_or("it")
        )),
        Outcome::PendingReboot => app.ui.say(&format!("{host}: takes effect at the next boot{generation}{until}")),
        Outcome::Nothing if report.plan.as_ref().is_some_and(|plan| plan.action != Action::DryActivate) => {
            app.ui.say(&format!("{host}: up to date, nothing to do{generation}; `--yes` activates it again"));
        }
        Outcome::Nothing => app.ui.say(&format!("{host}: nothing was changed; `--action switch` does it")),
        Outcome::Skipped if report.failure.is_none() => app.ui.say(&format!("{host}: skipped; it is offline")),
        Outcome::Declined
        | Outcome::Failed
        | Outcome::RolledBack
        | Outcome::NeedsOperator
        | Outcome::Lost
        | Outcome::Skipped => {}
    }
    if let (Outcome::Done, true, Some(before)) = (report.outcome, other, report.before) {
        // Without the host's name the command would be for the machine on which it is typed.
        let machine = words(report.host.as_ref(), root);
        app.ui.say(&format!("undo: {}", app.ui.command(&format!("rollback{machine} --to {before}"))));
    }
    match report.failure {
        Some(failure) => Err(of_hosts(failure, report.host.as_slice()).into()),
        None => Ok(None),
    }
}

/// Shows the results of a run on the hosts where it was followed.
pub fn attached(all: Vec<Attached>, json: bool, app: &App) -> Done {
    app.ui.end_progress();
    let count = all.len();
    let mut failures = Vec::new();
    for one in all {
        let (host, outcome, failure) = one.into_parts();
        if json {
            let reason = failure.as_ref().map(Error::in_one_line);
            app.ui.json_line(&Joined { event: "result", version: 1, host: &host, outcome, reason })?;
        }
        if let Some(outcome) = outcome {
            app.ui.say(&format!("{host}: {}", outcome.as_str()));
        }
        failures.extend(failure.map(|failure| if count > 1 { failure.about(&host) } else { failure }));
    }
    if failures.is_empty() {
        Ok(None)
    } else {
        Err(Error::batch(format!("{} of {count} runs did not end well", failures.len()), failures).into())
    }
}

/// The final `--json` line of a host.
#[derive(serde::Serialize)]
pub struct Line<'a> {
    /// `result`.
    pub event: &'static str,
    #[serde(flatten)]
    pub report: &'a Report,
}

/// The final `--json` line of a host where a run was followed.
#[derive(serde::Serialize)]
struct Joined<'a> {
    event: &'static str,
    version: u32,
    host: &'a HostName,
    outcome: Option<Outcome>,
    reason: Option<String>,
}
