//! `sealift verify`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::app::{App, Done, nothing_yet};
use crate::cli::verbs::deploy::args::Machines;
use crate::commands::fleet::verify::{Undeployed, VerifiedHost, run as verify};
use crate::commands::hosts::select::named;
use crate::domain::counted::counted;
use crate::domain::name::HostName;
use crate::error::{Error, Kind};

/// The arguments of `sealift verify`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    machines: Machines,
    /// Run the commands of checks that no deployed system carries, as recipients.toml has them, without asking
    #[arg(long)]
    yes: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// The result for one host, as printed.
#[derive(Serialize)]
struct Row {
    host: HostName,
    well: bool,
    checks: BTreeMap<String, Option<String>>,
    secrets: BTreeMap<String, Option<String>>,
    reason: Option<String>,
}

/// Verifies hosts. Exit code 3 if something is wrong, as in `check`.
pub fn run(args: Args, app: &App) -> Done {
    let session = app.session()?;
    let who = args.machines.who(&session.fleet.policy, false)?;
    let found = verify(&session, &who, if args.yes { Undeployed::Run } else { Undeployed::Ask })?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for VerifiedHost { host, verified } in found {
        match verified {
            Ok(verified) => {
                let well = verified.checks.values().chain(verified.secrets.values()).all(Option::is_none);
                rows.push(Row { host, well, checks: verified.checks, secrets: verified.secrets, reason: None });
            }
            Err(error) => {
                let reason = Some(error.in_one_line());
                rows.push(Row {
                    host: host.clone(),
                    well: false,
                    checks: BTreeMap::new(),
                    secrets: BTreeMap::new(),
                    reason,
                });
                failures.push(named(&host, error));
            }
        }
    }
    if args.json {
        app.ui.json_rows("hosts", &rows)?;
    } else {
        if rows.is_empty() && failures.is_empty() {
            nothing_yet(app, &session.fleet.policy);
        }
        for row in rows.iter().filter(|row| row.reason.is_none()) {
            let wrong = |what: &str, all: &BTreeMap<String, Option<String>>| -> Vec<String> {
                all.iter().filter_map(|(name, wrong)| Some(format!("{what} {name}: {}", wrong.as_ref()?))).collect()
            };
            for line in wrong("check", &row.checks).into_iter().chain(wrong("secret", &row.secrets)) {
                app.ui.line(&format!("{}: {line}", row.host))?;
            }
            if row.well {
                app.ui.say(&format!(
                    "{}: {} and {} are as they should be",
                    row.host,
                    counted(row.checks.len(), "check"),
                    counted(row.secrets.len(), "secret")
                ));
            }
        }
    }
    if !failures.is_empty() {
        let some = rows.iter().any(|row| row.reason.is_none());
        let all = Error::batch(format!("{} of {} hosts could not be verified", failures.len(), rows.len()), failures);
        return Err(if some { all.of_kind(Kind::Partial) } else { all }.into());
    }
    Ok(rows.iter().any(|row| !row.well).then_some(Kind::Drift))
}
