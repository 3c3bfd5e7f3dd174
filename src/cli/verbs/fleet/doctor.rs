//! `sealift doctor`.

use crate::adapters::git::layout;
use crate::cli::app::{App, Done};
use crate::cli::verbs::deploy::args::Reach;
use crate::cli::{environment, settings};
use crate::commands::fleet::doctor::{Report, Request, run as doctor};
use crate::domain::counted::counted;
use crate::domain::doctor::Fault;
use crate::domain::level::Level;
use crate::domain::name::HostWord;

/// The arguments of `sealift doctor`.
#[derive(clap::Args)]
pub struct Args {
    /// The host; without it, this machine
    #[arg(value_name = "HOST")]
    host: Option<HostWord>,
    #[command(flatten)]
    reach: Reach,
    /// Fix what can be fixed without a loss
    #[arg(long)]
    fix: bool,
    /// Treat warnings as failures
    #[arg(long)]
    strict: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Checks, and prints the faults.
pub fn run(args: Args, app: &App) -> Done {
    let named = app.global.fleet.is_some() || environment::variable(environment::FLEET).is_some();
    let (session, directory) = match app.root() {
        Ok(root) => match app.session() {
            // The fault is that the repository belongs to another user.
            Err(_) if layout::foreign(&root).is_some() => (None, root),
            session => (Some(session?), root),
        },
        // A machine without a fleet can still be checked.
        Err(_) if !named => (None, environment::working_directory()),
        Err(error) => return Err(error.into()),
    };
    let who = args.reach.who(Vec::new(), false, false)?;
    let request =
        Request { host: args.host.as_ref(), who: &who, directory: &directory, fix: args.fix, today: settings::today() };
    let report = doctor(session.as_ref(), &request)?;
    let kind = report.kind(args.strict);
    if args.json {
        app.ui.json(&report)?;
        return Ok(kind);
    }
    show(&report, app)?;
    Ok(kind)
}

fn show(report: &Report, app: &App) -> Done {
    for fault in &report.fixed {
        app.ui.line(&format!("fixed: {}: {}", fault.about, fault.what))?;
    }
    let mut can = 0;
    for Fault { level, about, what, help, fix, .. } in &report.faults {
        let (sgr, weight) = match level {
            Level::Error => (31, "error:"),
            Level::Warning => (33, "warning:"),
        };
        app.ui.finding(sgr, weight, &format!("{about}: {what}"), help)?;
        can += usize::from(fix.is_some());
    }
    for what in &report.not_looked_at {
        app.ui.finding(33, "not read:", what, "")?;
    }
    app.ui.say(&match report.faults.len() {
        0 => format!("{}: no known fault", report.machine),
        count => format!("{}: {}", report.machine, counted(count, "fault")),
    });
    if can > 0 {
        app.ui.say(&format!("`sealift doctor --fix` fixes {can} of them"));
    }
    Ok(None)
}
