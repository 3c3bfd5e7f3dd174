//! `sealift rekey`.

use crate::cli::app::{App, Done};
use crate::cli::ui::Ui;
use crate::commands::secrets::rekey::{Report, Request, run as rekey};
use crate::domain::drift::lacking;
use crate::domain::drift::rekey_plan::Why;
use crate::domain::drift::same::{grouped, names};
use crate::domain::name::FileName;

/// The arguments of `sealift rekey`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these secrets
    #[arg(value_name = "NAME")]
    names: Vec<FileName>,
    /// Print what would be done and do nothing; needs no private key
    #[arg(long)]
    dry_run: bool,
    /// Re-encrypt files that are up to date, too
    #[arg(long)]
    all: bool,
    /// Give a file without a seal its seal: this secret's, after a look at who would gain access (may be given again)
    #[arg(long, value_name = "NAME")]
    adopt: Vec<FileName>,
    /// Take access from this reader, where recipients.toml does not give it any more: a host, or what is shown of a key
    /// that nobody knows (may be given again)
    #[arg(long, value_name = "READER")]
    remove: Vec<String>,
    /// Do not ask; each reader that loses access must be named with --remove
    #[arg(long, short)]
    yes: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    let request = Request {
        only: args.names,
        all: args.all,
        adopt: args.adopt,
        remove: args.remove.into_iter().collect(),
        yes: args.yes,
        dry_run: args.dry_run,
    };
    let report = rekey(&mut session, &request)?;
    if args.json {
        app.ui.json(&report)?;
    } else {
        show(&report, &app.ui)?;
    }
    Ok(report.kind())
}

/// Prints what was or would be re-encrypted.
pub fn show(report: &Report, ui: &Ui) -> crate::error::Result<()> {
    for ((why, access), files) in grouped(report.changed.iter().map(|one| (&one.file, (one.why, &one.access)))) {
        let line = match (&files[..], why) {
            ([file], Why::Asked) => format!("{file}: as asked"),
            ([file], Why::Unsealed) => format!("{file}: it had no seal {}", access.signs()).trim_end().to_owned(),
            ([file], Why::Drift) => format!("{file}: {}", access.signs()),
            (files, Why::Asked) => format!("as asked: {}", names(files)),
            (files, Why::Unsealed) => format!("had no seal; {}: {}", access.told(), names(files)),
            (files, Why::Drift) => format!("{}: {}", access.told(), names(files)),
        };
        // In a dry run this is the requested data.
        if report.dry_run || !ui.is_quiet() {
            ui.wrapped(&line)?;
        }
    }
    for (access, files) in grouped(report.unsealed.iter().map(|left| (&left.file, &left.access))) {
        let told = access.told();
        let adopt = files.iter().map(|file| format!(" --adopt {file}")).collect::<Vec<_>>().concat();
        let (what, from) = match &files[..] {
            [file] => (format!("{file} has no seal and stays as it is: if it is adopted, {told}"), "it comes"),
            files => {
                (format!("no seal, and left as they are: {}: if they are adopted, {told}", names(files)), "they come")
            }
        };
        ui.warn(&what);
        ui.say(&format!("  find out where {from} from; if that is intended: sealift rekey{adopt}"));
    }
    for (how, lacking) in grouped(report.lacking.iter().map(|one| (one, one.how))) {
        ui.say(&lacking::told(how, &lacking));
    }
    let verb = if report.dry_run { "would be re-encrypted" } else { "re-encrypted" };
    match (report.changed.len(), report.unchanged) {
        (0, 0) => ui.say("nothing to re-encrypt"),
        (0, unchanged) => ui.say(&format!("nothing to re-encrypt, {unchanged} unchanged")),
        (changed, unchanged) => ui.say(&format!("{changed} {verb}, {unchanged} unchanged")),
    }
    Ok(())
}

/// Prints the values known to somebody who was removed. Does not repeat files that `show` has printed.
pub fn show_known(who: &str, knew: &[FileName], rekeyed: &Report, ui: &Ui) -> crate::error::Result<()> {
    if knew.iter().eq(rekeyed.changed.iter().map(|changed| &changed.file)) {
        ui.say(&match knew.len() {
            1 => format!("{who} knows the value of this file until it gets a new one"),
            many => format!("{who} knows the values of these {many} files until they get new ones"),
        });
        return Ok(());
    }
    ui.say(&format!("{who} knows these values until they get new ones:"));
    ui.wrapped(&format!("knows {}", names(knew)))
}
