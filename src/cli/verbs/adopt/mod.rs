//! `sealift adopt`.

pub mod import;

use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::app::{App, Done};
use crate::cli::{environment, settings};
use crate::commands::adopt::{Report, Request, run as adopt};
use crate::domain::name::SecretName;
use crate::domain::secret::shape::{Shape, shapes};
use crate::error::Result;

/// The arguments of `sealift adopt`.
#[derive(clap::Args)]
pub struct Args {
    /// The file and the line: hosts/nixos/default.nix:42, and :COLUMN where a line has more than one
    #[arg(value_name = "PATH:LINE")]
    place: Place,
    /// The secret's name, if not the one derived from the option
    #[arg(long)]
    name: Option<SecretName>,
    /// Who reads it: hosts, @tags or *, with commas; a file below hosts/NAME is of that host
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    hosts: Vec<String>,
    /// The option that takes a file, for a module that sealift does not know
    #[arg(long, value_name = "OPTION")]
    twin: Option<String>,
    #[arg(long, help = format!("The form of the sealed value, if not the one that the option needs: {}", shapes()))]
    shape: Option<String>,
    /// The owner of the delivered file, if not the one that the module reads it as
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Overwrite and remove a signing key's file outside of the repository once it is sealed
    #[arg(long)]
    shred: bool,
    /// Print the change and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// A file, a line and a column.
#[derive(Clone)]
struct Place {
    file: PathBuf,
    line: usize,
    column: Option<usize>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let odd = || "a file and a line number, such as FILE.nix:42".to_owned();
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
        let (head, last) = text.rsplit_once(':').ok_or_else(odd)?;
        let last = number(last).ok_or_else(odd)?;
        let (file, line, column) = match head.rsplit_once(':').and_then(|(file, line)| Some((file, number(line)?))) {
            Some((file, line)) => (file, line, Some(last)),
            None => (head, last, None),
        };
        if file.is_empty() { Err(odd()) } else { Ok(Self { file: file.into(), line, column }) }
    }
}

pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    let shape = args.shape.map(|text| text.parse::<Shape>()).transpose()?;
    let request = Request {
        file: environment::working_directory().join(args.place.file),
        line: args.place.line,
        column: args.place.column,
        name: args.name,
        hosts: args.hosts,
        twin: args.twin,
        shape,
        owner: args.owner,
        home: settings::home(),
        shred: args.shred,
        dry_run: args.dry_run,
        yes: args.yes,
    };
    let report = adopt(&mut session, &request)?;
    if args.json {
        app.ui.json(&report)?;
    } else if report.dry_run {
        report.changes.iter().try_for_each(|line| app.ui.line(line))?;
    } else {
        tell(&report, app);
    }
    Ok(None)
}

fn tell(report: &Report, app: &App) {
    let hosts: Vec<String> = report.hosts.iter().map(ToString::to_string).collect();
    app.ui.say(&format!("sealed {} for {}; it is removed from {}", report.secret, hosts.join(", "), report.file));
    for path in &report.also_in {
        app.ui.warn(&format!("{path} holds the same value in the last commit"));
    }
    for part in &report.not_looked_at {
        app.ui.warn(&format!("not read: {part}"));
    }
    if !report.commits.is_empty() {
        let named: Vec<String> = report
            .commits
            .iter()
            .take(8)
            .map(|trace| format!("{} of {} ({})", trace.commit, trace.date, trace.path))
            .collect();
        let more = report.commits.len().saturating_sub(named.len());
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        app.ui.warn(&format!("the git history still holds the value: it came or went with {}{more}", named.join(", ")));
    }
    if let Some(why) = report.exposed {
        // The warning about the commits has said why already.
        let why = if report.commits.is_empty() { format!("{why}: ") } else { String::new() };
        app.ui.say(&format!("{why}give it a new value: `sealift rotate {}`", report.secret));
    }
}
