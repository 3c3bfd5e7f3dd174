//! `sealift cleanup`.

use crate::adapters::prompt::Ask;
use crate::cli::app::{App, Done};
use crate::cli::verbs::deploy::args::Reach;
use crate::commands::fleet::cleanup::{Report, carry_out, plan};
use crate::domain::counted::counted;
use crate::error::{Error, Result};

/// The arguments of `sealift cleanup`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
    /// Show what would be removed and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print what was removed as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    let plan = plan(&session, &args.reach.who(Vec::new(), true, false)?, args.dry_run)?;
    let count = plan.report().removed.len();
    if !args.json {
        show(plan.report(), app)?;
    }
    if count == 0 || args.dry_run {
        if args.json {
            app.ui.json(plan.report())?;
        } else if count > 0 {
            app.ui.say(&format!("nothing was removed: without `--dry-run` it would be {}", counted(count, "file")));
        }
        return Ok(None);
    }
    if !args.yes
        && !app.ui.confirm(&format!("Remove {}? git keeps what they were in its history.", counted(count, "file")))?
    {
        return Err(Error::failed("nothing was removed").help("`--yes` does not ask").into());
    }
    let report = carry_out(&mut session, plan)?;
    if args.json {
        app.ui.json(&report)?;
        return Ok(None);
    }
    app.ui.say(&format!(
        "removed {}; next: look at `git diff --cached --stat`, build, and commit",
        counted(report.removed.len(), "file")
    ));
    Ok(None)
}

fn show(report: &Report, app: &App) -> Result<()> {
    for one in &report.removed {
        app.ui.line(&format!("{}: {}", one.path, one.why))?;
    }
    for one in &report.left {
        app.ui.warn(&format!("{} stays: {}", one.path, one.why));
    }
    if report.removed.is_empty() {
        app.ui.say("nothing of the old layout is left to remove");
    }
    Ok(())
}
