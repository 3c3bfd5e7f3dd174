//! `sealift hook`.

use clap::Subcommand;

use crate::adapters::git::Git;
use crate::cli::app::{App, Done};
use crate::cli::environment;
use crate::commands::scan::hook;

/// The arguments of `sealift hook`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Install the hook; a hook that is there already still runs, after it
    Install {
        /// Print the entry for pre-commit.com's program instead
        #[arg(long)]
        print_entry: bool,
    },
    /// Remove the hook
    Remove,
}

pub fn run(args: &Args, app: &App) -> Done {
    if let What::Install { print_entry: true } = args.what {
        app.ui.data(hook::ENTRY.as_bytes())?;
        return Ok(None);
    }
    let root = app.root().or_else(|_| hook_root(app))?;
    let (git, program) = (Git::of(&root)?, environment::caller()?.program);
    let installs = matches!(args.what, What::Install { .. });
    let report = if installs { hook::install(&git, &root, &program)? } else { hook::remove(&git, &root, &program)? };
    let (file, beside) = (report.file.display(), if report.beside { ", beside the hook that was there" } else { "" });
    app.ui.say(&match (installs, report.changed) {
        (true, true) => format!("{file} looks for plaintext now{beside}"),
        (true, false) => "the hook is there already; nothing changed".to_owned(),
        (false, true) => format!("the hook is removed from {file}"),
        (false, false) => "there is no sealift hook; nothing changed".to_owned(),
    });
    if installs && git.top.join(".pre-commit-config.yaml").exists() {
        app.ui.say("this repository uses pre-commit.com's program: `sealift hook install --print-entry` prints an entry for it");
    }
    Ok(None)
}

/// Returns the top of a repository without a fleet.
fn hook_root(app: &App) -> crate::error::Result<std::path::PathBuf> {
    Ok(Git::of(&app.named_directory())?.top)
}
