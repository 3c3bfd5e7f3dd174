//! `sealift manifest`.

use crate::cli::app::{App, Done};
use crate::commands::fleet::manifest;
use crate::domain::name::HostWord;

/// The arguments of `sealift manifest`.
#[derive(clap::Args)]
pub struct Args {
    /// The host that the secrets are for
    #[arg(value_name = "HOST")]
    host: HostWord,
    /// Print one line with sorted keys, byte for byte what Nix writes
    #[arg(long)]
    compact: bool,
}

pub fn run(args: &Args, app: &App) -> Done {
    let session = app.session()?;
    let manifest = manifest::run(&session, session.fleet.policy.named(&args.host)?)?;
    if args.compact {
        app.ui.json_line(&manifest.sorted()?)?;
    } else {
        app.ui.json_as_it_is(&manifest)?;
    }
    Ok(None)
}
