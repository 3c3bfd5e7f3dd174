//! `sealift rekey`.

use crate::cli::{App, Done, Ui};
use crate::commands::rekey::{Report, Request, run as rekey};
use crate::fleet::name::FileName;
use crate::fleet::plan::Why;

/// The arguments of `sealift rekey`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these secrets
    #[arg(value_name = "NAME")]
    names: Vec<FileName>,
    /// Print what would be done and do nothing; needs no private key
    #[arg(long)]
    dry_run: bool,
    /// Seal files anew that are in line, too
    #[arg(long)]
    all: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Rekeys.
pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    let report = rekey(&mut session, &Request { only: args.names, all: args.all, dry_run: args.dry_run })?;
    if args.json {
        app.ui.json(&report)?;
    } else {
        show(&report, &app.ui)?;
    }
    Ok(None)
}

/// Prints what was, or would be, sealed anew.
pub fn show(report: &Report, ui: &Ui) -> crate::error::Result<()> {
    for changed in &report.changed {
        let why = match &changed.why {
            Why::Asked => "as asked".to_owned(),
            Why::Unsealed => "it had no seal".to_owned(),
            Why::Drift(drift) => {
                let words = |sign: &str, names: &std::collections::BTreeSet<String>| {
                    names.iter().map(|name| format!("{sign}{name}")).collect::<Vec<_>>()
                };
                [words("+", &drift.missing), words("-", &drift.extra)].concat().join(" ")
            }
        };
        ui.line(&format!("{}: {why}", changed.file))?;
    }
    for file in &report.missing {
        ui.say(&format!("{file} has no value yet: sealift seal {file}"));
    }
    let verb = if report.dry_run { "would be sealed anew" } else { "sealed anew" };
    ui.say(&format!("{} {verb}, {} unchanged", report.changed.len(), report.unchanged));
    Ok(())
}
