//! `sealift rotate`.

use std::path::PathBuf;

use crate::cli::app::{App, Done};
use crate::cli::input::{is_standard_input, standard_input};
use crate::commands::secrets::rotate::{Expiry, Request, refuse_unknown, run as rotate};
use crate::commands::secrets::seal::Source;
use crate::domain::drift::same::{grouped, names};
use crate::domain::name::{FileName, HostWord};
use crate::domain::secret::age_header::VALUE_LIMIT;

/// The arguments of `sealift rotate`.
#[derive(clap::Args)]
pub struct Args {
    /// The secrets; NAME/HOST for one host's own value
    #[arg(value_name = "NAME", required_unless_present_any = ["exposed_to", "missing"])]
    names: Vec<FileName>,
    /// Everything that this host or admin, present or removed, can read or knows; of two with one name, the host
    #[arg(long, value_name = "HOST|ADMIN")]
    exposed_to: Option<HostWord>,
    /// Everything that has no value yet and whose values are generated
    #[arg(long)]
    missing: bool,
    /// Read the value of a single secret from standard input
    #[arg(long, conflicts_with = "from_file")]
    stdin: bool,
    /// Read it from this file; - is standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Make the change that the shape check offers
    #[arg(long, alias = "mend")]
    fix: bool,
    /// When the new values expire: a date, or `never`. Without it, you are asked at a terminal where there was a date, unless
    /// the value comes from standard input: then the date stays
    #[arg(long, value_name = "DATE")]
    expires: Option<Expiry>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    let source = if args.stdin || args.from_file.as_deref().is_some_and(is_standard_input) {
        refuse_unknown(&session, &args.names)?;
        // Before the fleet is locked: the value may come from another sealift.
        Some(Source::Given(standard_input(VALUE_LIMIT)?))
    } else {
        args.from_file.map(|path| Source::File { path, shred: false })
    };
    let report = rotate(
        &mut session,
        Request {
            names: args.names,
            exposed_to: args.exposed_to,
            missing: args.missing,
            source,
            fix: args.fix,
            expires: args.expires,
        },
    )?;
    if args.json {
        app.ui.json(&report)?;
        return Ok(report.kind());
    }
    for sealed in &report.rotated {
        app.ui.done(&format!("{}: version {}", sealed.file, sealed.serial))?;
        if let Some(public) = &sealed.public {
            app.ui.say(&format!("  its public key: {public}"));
        }
    }
    for (reason, files) in grouped(report.left.iter().map(|(file, reason)| (file, reason))) {
        app.ui.warn(&match &files[..] {
            [file] => format!("{file} keeps its value: {reason}"),
            files => format!("{reason}; what is there stays: {}", names(files)),
        });
    }
    let next = if report.rotated.is_empty() { "" } else { "; deploy to put the new values on the hosts" };
    app.ui.say(&format!("{} rotated, {} left{next}", report.rotated.len(), report.left.len()));
    Ok(report.kind())
}
