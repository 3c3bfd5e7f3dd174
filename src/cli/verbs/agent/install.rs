//! `install`, in both programs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::adapters::age::identity::Plugins;
use crate::cli::environment;
use crate::cli::print::Printer;
use crate::cli::run::Done;
use crate::commands::install::{self, Report, Request, Strict};
use crate::commands::talk::Talk;
use crate::domain::counted::counted;
use crate::domain::manifest::install_status::{Outcome, Tree};

/// Put a host's secrets in place: on the host, with its own key
///
/// Opens every secret of a manifest in memory with the host's own key, then puts all of them in place at once:
/// /run/sealift leads to the new generation. What cannot be opened keeps its last good bytes of this boot, and the
/// exit code is 4; with --strict nothing is changed then, and it is 1. A system's unit says --strict=live: all or
/// nothing in a switch, what opens in a boot.
#[derive(clap::Args)]
pub struct Args {
    /// The manifest: from the Nix module, or from `sealift manifest HOST`
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Install into the system below this directory, with its users; its units are left alone
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Change nothing if anything fails: `always`, or only where secrets are `live` already
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    strict: Option<When>,
    /// Install only what is needed to make the users, below /run/sealift-users; without it, only the rest
    #[arg(long)]
    users: bool,
    /// Install for the user who runs this, below this directory in memory: $XDG_RUNTIME_DIR, %t in a user's unit
    #[arg(long, value_name = "DIR", conflicts_with_all = ["root", "users"])]
    user_dir: Option<PathBuf>,
    /// Only check that the manifest and its files are in order; needs no key and writes nothing
    #[arg(long, conflicts_with_all = ["root", "strict", "users", "user_dir", "identity"])]
    check: bool,
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
}

/// When any failure changes nothing.
#[derive(Clone, Copy, clap::ValueEnum)]
enum When {
    Always,
    Live,
}

/// Checks or installs.
pub fn run(args: Args, named: &[PathBuf], printer: &Printer, talk: &Arc<dyn Talk>) -> Done {
    if args.check {
        let checked = install::check(&args.manifest)?;
        if args.json {
            printer.json(&checked)?;
        } else {
            printer.say(&format!(
                "the manifest of {} is in order: {}",
                checked.host,
                counted(checked.secrets, "secret")
            ));
        }
        return Ok(None);
    }
    let mut identities = named.to_vec();
    if identities.is_empty() {
        identities.extend(environment::variable(environment::IDENTITY).map(PathBuf::from));
    }
    let tree = if args.users { Tree::Users } else { Tree::Ordinary };
    let request = Request {
        manifest: args.manifest,
        root: args.root,
        identities,
        tree,
        user_dir: args.user_dir,
        strict: match args.strict {
            None => Strict::Never,
            Some(When::Always) => Strict::Always,
            Some(When::Live) => Strict::WhenLive,
        },
        plugins: Plugins::default(),
    };
    let report = install::run(&request, talk)?;
    if args.json {
        printer.json_as_it_is(&report.status)?;
    } else {
        tell(&report, &request, printer);
    }
    match report.failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(None),
    }
}

fn tell(report: &Report, request: &Request, printer: &Printer) {
    let status = &report.status;
    let count = |outcome| status.secrets.values().filter(|entry| entry.outcome == outcome).count();
    let mut parts = vec![format!("{} new or changed", count(Outcome::Installed))];
    for (outcome, word) in
        [(Outcome::Unchanged, "unchanged"), (Outcome::Stale, "kept from before"), (Outcome::Failed, "missing")]
    {
        if count(outcome) > 0 {
            parts.push(format!("{} {word}", count(outcome)));
        }
    }
    let link = match &request.user_dir {
        Some(directory) => directory.join(request.tree.link()),
        None => request.root.join(request.tree.delivered().trim_start_matches('/')),
    };
    printer.say(&format!("{}: generation {} is live; {}", link.display(), status.generation, parts.join(", ")));
    for (units, done) in [(&status.units.restarted, "restarting"), (&status.units.reloaded, "reloading")] {
        if !units.is_empty() {
            printer.say(&format!("{done} {}", units.join(", ")));
        }
    }
    if let Some(why) = &status.units.untouched {
        printer.say(&format!("no unit was restarted: {why}"));
    }
}
