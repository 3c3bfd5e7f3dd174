//! `sealift mv` and `sealift rm`.

use crate::cli::app::{App, Done};
use crate::commands::secrets::rename;
use crate::domain::counted::counted;
use crate::domain::name::{FileName, SecretName};

/// The arguments of `sealift mv`.
#[derive(clap::Args)]
pub struct MvArgs {
    /// The name it has
    old: SecretName,
    /// The name it gets
    new: SecretName,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn mv(args: &MvArgs, app: &App) -> Done {
    let mut session = app.session()?;
    let moved = rename::mv(&mut session, &args.old, &args.new)?;
    if args.json {
        app.ui.json(&moved)?;
    } else {
        app.ui.say(&format!(
            "{} is now {}; on hosts it is found at its new path after the next deploy",
            args.old, args.new
        ));
    }
    Ok(None)
}

/// The arguments of `sealift rm`.
#[derive(clap::Args)]
pub struct RmArgs {
    /// The secret
    name: FileName,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn rm(args: &RmArgs, app: &App) -> Done {
    let mut session = app.session()?;
    let removed = rename::rm(&mut session, &args.name, args.yes)?;
    if args.json {
        app.ui.json(&removed)?;
    } else {
        app.ui.say(&format!(
            "removed {}: {}; the git history still holds what it was",
            args.name,
            counted(removed.files.len(), "file")
        ));
    }
    Ok(None)
}
