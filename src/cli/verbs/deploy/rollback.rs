//! `sealift rollback`.

use std::sync::Arc;

use crate::cli::app::{App, Done};
use crate::cli::verbs::deploy::args::{Patience, Reach};
use crate::cli::verbs::deploy::outcome::{Line, show_one};
use crate::commands::deploy::rollback::{Request, run as rollback};
use crate::commands::talk::{Event, Talk};
use crate::domain::name::{HostWord, UnixName};
use crate::domain::policy::Selector;

/// The arguments of `sealift rollback`.
#[derive(clap::Args)]
pub struct Args {
    /// The host; without it, this machine
    #[arg(value_name = "HOST", conflicts_with = "host")]
    positional: Option<HostWord>,
    /// The host, the same as naming it without the option
    #[arg(long, value_name = "HOST")]
    host: Option<HostWord>,
    /// The generation to go to, as `sealift generations` numbers them
    #[arg(long, value_name = "N", value_parser = generation)]
    to: Option<u64>,
    /// Skip the declared checks, for when only one of them stands in the way
    #[arg(long)]
    no_checks: bool,
    /// Keep the newest values that the host's key opens, until its next reboot: only the system goes back
    #[arg(long)]
    keep_values: bool,
    /// Roll back a home that is not part of the system, and leave the system as it is; `--to` is then a generation of that
    /// home
    #[arg(long, value_name = "USER", num_args = 0..=1, require_equals = true, default_missing_value = "",
        value_parser = whose, conflicts_with = "keep_values")]
    home: Option<Whose>,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    patience: Patience,
    /// Do not ask. It never does: this is for those who type it
    #[arg(long, short, hide = true)]
    yes: bool,
    /// Print what happens as JSON, one event a line
    #[arg(long)]
    json: bool,
}

fn generation(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it is the number of a generation; `sealift generations` lists them".to_owned())
}

/// The user whose home to roll back; none if there is only one.
#[derive(Clone, Debug)]
struct Whose(Option<UnixName>);

fn whose(text: &str) -> Result<Whose, String> {
    let user = (!text.is_empty()).then(|| text.parse::<UnixName>().map_err(|fault| fault.to_string()));
    user.transpose().map(Whose)
}

pub fn run(args: Args, app: &App) -> Done {
    app.ui.stream_events(args.json);
    let talk: Arc<dyn Talk> = app.ui.clone();
    let fleet = app.session();
    if let Err(error) = &fleet {
        talk.event(Event::Warning(format!("no checks are run: there is no usable fleet here: {error}")));
    }
    let fleet = fleet.ok();
    let host = match (&fleet, args.positional.or(args.host)) {
        (Some(session), Some(word)) => Some(session.fleet.policy.named(&word)?.clone()),
        (_, word) => word.and_then(|word| word.as_str().parse().ok()),
    };
    let request = Request {
        who: args.reach.who(host.iter().cloned().map(Selector::Host).collect(), false, false)?,
        patience: args.patience.patience(),
        host,
        to: args.to,
        checks: !args.no_checks,
        keep_values: args.keep_values,
        home: args.home.map(|whose| whose.0),
    };
    let root = request.who.root.clone();
    let report = rollback(fleet.as_ref(), talk.as_ref(), &request)?;
    if args.json {
        app.ui.json_line(&Line { event: "result", report: &report })?;
    }
    show_one(report, &root, app)
}
