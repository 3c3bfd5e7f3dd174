//! `sealift rollback`.

use std::sync::Arc;

use super::deploy::{Machine, show};
use crate::cli::{App, Done, settings};
use crate::commands::rollback::{Request, run as rollback};
use crate::commands::{Event, Talk};
use crate::fleet::name::HostName;

/// Makes the generation before the current one run and boot again, with the secrets that it carries. Asks nothing. Fails
/// like a deploy: what ran stays, or comes back. Works without a fleet too; then no checks are made.
#[derive(clap::Args)]
pub struct Args {
    /// The host; without it, the one that this machine is
    #[arg(value_name = "HOST", conflicts_with = "host")]
    positional: Option<HostName>,
    /// The same
    #[arg(long, value_name = "HOST")]
    host: Option<HostName>,
    /// The generation to go to, as `sealift generations` numbers them
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    machine: Machine,
}

/// Rolls back.
pub fn run(args: Args, app: &App) -> Done {
    let talk: Arc<dyn Talk> = app.ui.clone();
    let fleet = app.session();
    if let Err(error) = &fleet {
        talk.event(Event::Warning(format!("no checks are made, for there is no usable fleet here: {error}")));
    }
    let fleet = fleet.ok();
    let request = Request {
        host: args.positional.or(args.host),
        root: args.machine.root,
        to: args.to,
        settle: args.machine.settle,
        caller: settings::caller()?,
    };
    let report = rollback(fleet.as_ref().map(|session| &session.fleet.policy), talk.as_ref(), &request)?;
    show(report, args.machine.json, app)
}
