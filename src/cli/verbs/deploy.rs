//! `sealift deploy`, and what the verbs that change a system share.

use std::path::PathBuf;

use crate::cli::{App, Done, settings};
use crate::commands::deploy::{Report, Request, run as deploy};
use crate::fleet::name::HostName;
use crate::fleet::order::Outcome;
use crate::fleet::rollout;

/// Looks whether all is in place, builds the host's system as whoever calls, shows what differs and asks. Then the host
/// opens and checks every secret, activates the system, looks whether all is well, and only then makes it what boots. Any
/// failure on the way brings back the former system with its secrets: exit 6.
#[derive(clap::Args)]
pub struct Args {
    /// The host; without it, the one that this machine is
    #[arg(value_name = "HOST", conflicts_with = "host")]
    positional: Option<HostName>,
    /// The same
    #[arg(long, value_name = "HOST")]
    host: Option<HostName>,
    #[command(flatten)]
    machine: Machine,
    /// How far to go
    #[arg(long, value_enum, default_value_t = Action::Switch)]
    action: Action,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// The directory of the flake [default: the fleet's, or the nearest above]
    #[arg(long, value_name = "DIR")]
    flake: Option<String>,
}

/// Options of the verbs that change a system.
#[derive(clap::Args)]
pub struct Machine {
    /// The root directory of the machine
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub root: PathBuf,
    /// How long a check that got worse may recover, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub settle: u64,
    /// Print what it came to as JSON, on one line
    #[arg(long)]
    pub json: bool,
}

/// How far a deploy goes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Action {
    /// Activate it, then make it what boots
    Switch,
    /// Make it what boots next; activate nothing
    Boot,
    /// Activate it; what boots stays
    Test,
    /// Say what a switch would do
    DryActivate,
    /// Build it
    Build,
}

/// Deploys.
pub fn run(args: Args, app: &App) -> Done {
    let session = app.session()?;
    let action = match args.action {
        Action::Switch => rollout::Action::Switch,
        Action::Boot => rollout::Action::Boot,
        Action::Test => rollout::Action::Test,
        Action::DryActivate => rollout::Action::DryActivate,
        Action::Build => rollout::Action::Build,
    };
    let request = Request {
        host: args.positional.or(args.host),
        root: args.machine.root,
        action,
        yes: args.yes,
        flake: args.flake,
        settle: args.machine.settle,
        caller: settings::caller()?,
    };
    let report = deploy(&session, &request)?;
    if action == rollout::Action::Build && !args.machine.json {
        app.ui.line(&report.system)?;
    }
    show(report, args.machine.json, app)
}

/// Shows what a deploy or a rollback came to. The last line says what happened, and what to do next.
pub fn show(report: Report, json: bool, app: &App) -> Done {
    if json {
        app.ui.json_line(&Line { event: "result", report: &report })?;
    }
    let host = report.host.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string);
    let until = if report.until_reboot { "; its secrets last until the next reboot, then deploy again" } else { "" };
    let generation = report.generation.map_or_else(String::new, |number| format!(" (generation {number})"));
    let former = report.plan.as_ref().and_then(|plan| plan.former.as_ref());
    let back =
        if former.is_some_and(|former| *former != report.system) { "; `sealift rollback` goes back" } else { "" };
    let waits = report.plan.as_ref().map_or(&[][..], |plan| &plan.reboot.waits);
    let reboot = if waits.is_empty() { String::new() } else { format!("; reboot for {}", waits.join(", ")) };
    match report.outcome {
        Outcome::Done if report.plan.is_none() => app.ui.say(&format!("{host}: built; nothing was changed")),
        Outcome::Done => app.ui.say(&format!(
            "{host}: done, {} runs{generation}{reboot}{until}{back}",
            report.running.as_deref().unwrap_or(&report.system)
        )),
        Outcome::PendingReboot => app.ui.say(&format!("{host}: takes effect at the next boot{generation}{until}")),
        Outcome::Nothing => app.ui.say(&format!("{host}: nothing was changed; `--action switch` does it")),
        Outcome::Declined | Outcome::Failed | Outcome::RolledBack | Outcome::Person => {}
    }
    match report.failure {
        Some(failure) => Err(failure.into()),
        None => Ok(None),
    }
}

/// The one line of `--json`.
#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'static str,
    #[serde(flatten)]
    report: &'a Report,
}
