//! `sealift check`.

use crate::cli::app::{App, Done};
use crate::cli::settings;
use crate::commands::fleet::check::{Request, run as check};
use crate::domain::counted::counted;
use crate::domain::drift::same::shown;
use crate::domain::level::Level;

/// The arguments of `sealift check`.
#[derive(clap::Args)]
pub struct Args {
    /// Treat warnings as failures
    #[arg(long)]
    strict: bool,
    /// No value may be older than in this commit, such as origin/main
    #[arg(long, value_name = "COMMIT")]
    against: Option<String>,
    /// Also compare every version in the git history with the present; exit 11 if the history is cut
    #[arg(long)]
    history: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Checks the fleet, and prints the findings.
pub fn run(args: Args, app: &App) -> Done {
    let report = check(&app.root()?, settings::today(), &Request { against: args.against, history: args.history })?;
    let kind = report.kind(args.strict);
    if args.json {
        app.ui.json(&report)?;
        return Ok(kind);
    }
    for finding in shown(&report.findings) {
        let (sgr, weight) = match finding.level {
            Level::Error => (31, "error:"),
            Level::Warning => (33, "warning:"),
        };
        app.ui.finding(sgr, weight, &finding.what, &finding.help)?;
    }
    for what in &report.not_looked_at {
        app.ui.finding(33, "not read:", what, "")?;
    }
    let (errors, warnings) = report.findings.iter().fold((0, 0), |(errors, warnings), finding| match finding.level {
        Level::Error => (errors + 1, warnings),
        Level::Warning => (errors, warnings + 1),
    });
    let looked = format!("{} for {}", counted(report.files, "sealed file"), counted(report.hosts, "host"));
    app.ui.say(&match (errors, warnings) {
        (0, 0) => format!("{looked}: up to date with recipients.toml"),
        (errors, warnings) => format!("{looked}: {}, {}", counted(errors, "error"), counted(warnings, "warning")),
    });
    Ok(kind)
}
