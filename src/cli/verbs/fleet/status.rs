//! `sealift status`.

use crate::cli::app::{App, Done, nothing_yet, table};
use crate::cli::verbs::deploy::args::Machines;
use crate::commands::fleet::progress;
use crate::commands::fleet::status::{Row, run as status};
use crate::commands::hosts::select::Who;
use crate::domain::migrate::progress::STEPS;
use crate::domain::name::HostName;
use crate::error::Kind;

/// The arguments of `sealift status`.
#[derive(clap::Args)]
#[command(mut_arg("words", |words| words.help("Hosts, and @tags; without any, all hosts")))]
pub struct Args {
    #[command(flatten)]
    machines: Machines,
    /// How far each machine is on its way into the fleet: prepared, structure, deployed, verified, cleaned up; from what is
    /// there. Looks at the checks, and needs root there for that
    #[arg(long)]
    progress: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Tells.
pub fn run(args: Args, app: &App) -> Done {
    let who = args.machines.who(false)?;
    // The fleet is what is asked for where nothing is said.
    let all = who.all || (who.words.is_empty() && who.root.as_os_str() == "/");
    if args.progress {
        return progress(&Who { all, ..who }, args.json, app);
    }
    let session = app.session()?;
    let rows = status(&session, &Who { all, ..who })?;
    if args.json {
        app.ui.json_rows("hosts", &rows)?;
    } else {
        if rows.is_empty() {
            nothing_yet(app, &session.fleet.policy);
        }
        let mut lines = vec![
            ["host", "generation", "commit", "secrets", "failed units", "reboot", "last deploy"]
                .map(str::to_owned)
                .to_vec(),
        ];
        lines.extend(rows.iter().map(line));
        table(app, &lines)?;
        for row in &rows {
            notes(row).iter().for_each(|note| app.ui.say(&of(&row.host, note)));
        }
    }
    let gone = rows.iter().filter(|row| !row.reachable).count();
    Ok((gone > 0).then_some(if gone == rows.len() { Kind::Unreachable } else { Kind::Partial }))
}

/// Tells how far each machine is. Exit 4 where something could not be told.
fn progress(who: &Who, json: bool, app: &App) -> Done {
    let rows = progress::run(&app.session()?, who)?;
    let unknown = rows.iter().flat_map(|row| &row.steps).any(|mark| mark.done.is_none() && !mark.open.is_empty());
    let kind = unknown.then_some(Kind::Partial);
    if json {
        app.ui.json_rows("hosts", &rows)?;
        return Ok(kind);
    }
    let mut lines = vec![std::iter::once("host").chain(STEPS).map(str::to_owned).collect::<Vec<_>>()];
    for row in &rows {
        let cells = row.steps.iter().map(|mark| match mark.done {
            Some(true) => "done",
            Some(false) => "open",
            None => "?",
        });
        lines.push(std::iter::once(row.host.to_string()).chain(cells.map(str::to_owned)).collect());
    }
    table(app, &lines)?;
    for row in &rows {
        for mark in &row.steps {
            for what in &mark.open {
                // A reason that names the host itself need not name it twice.
                let what = what.strip_prefix(&format!("{}: ", row.host)).unwrap_or(what);
                app.ui.say(&format!("{}: {}: {what}", row.host, mark.step));
            }
        }
    }
    Ok(kind)
}

fn line(row: &Row) -> Vec<String> {
    if row.reason.is_some() {
        let what = match (row.reachable, row.never_deployed) {
            (false, _) => "unreachable",
            (true, true) => "never deployed",
            (true, false) => "not known",
        };
        return vec![row.host.to_string(), what.to_owned()];
    }
    let unknown = || "?".to_owned();
    let commit = match (&row.commit, row.behind) {
        (None, _) => unknown(),
        (Some(commit), behind) => {
            let dirty = if commit.ends_with("-dirty") { "+" } else { "" };
            let behind =
                behind.filter(|behind| *behind > 0).map_or_else(String::new, |behind| format!(" ({behind} behind)"));
            format!("{}{dirty}{behind}", commit.get(..7).unwrap_or(commit))
        }
    };
    let secrets =
        if row.secrets.is_empty() { "up to date".to_owned() } else { format!("{} out of date", row.secrets.len()) };
    vec![
        row.host.to_string(),
        row.generation.map_or_else(unknown, |generation| generation.to_string()),
        commit,
        secrets,
        row.failed_units.as_ref().map_or_else(unknown, |units| units.len().to_string()),
        if row.reboot.is_empty() { "no".to_owned() } else { "pending".to_owned() },
        row.last.as_ref().map_or_else(
            || "never".to_owned(),
            |last| format!("{} {} by {}", last.ended, last.outcome.as_str(), last.who),
        ),
    ]
}

/// A note about a host, named once.
fn of(host: &HostName, note: &str) -> String {
    let named = |after| note.strip_prefix(host.as_str()).is_some_and(|rest| rest.starts_with(after));
    if named(": ") || named(" ") { note.to_owned() } else { format!("{host}: {note}") }
}

fn notes(row: &Row) -> Vec<String> {
    let mut notes: Vec<String> = row.reason.iter().cloned().collect();
    notes.extend(row.deploy.clone());
    notes.extend(row.specialisation.iter().map(|name| format!("the specialisation {name} runs")));
    notes.extend(row.secrets.iter().map(|(name, what)| format!("{name}: {what}")));
    notes.extend(row.homes.iter().map(|home| {
        let generation = home.generation.map_or_else(String::new, |number| format!(", generation {number}"));
        match (&home.package, home.deployed) {
            (None, _) => format!("the home of {} cannot be read from here", home.user),
            (Some(_), Some(false)) => {
                format!("the home of {} is not the one that was deployed last{generation}", home.user)
            }
            (Some(package), _) => format!("the home of {} is {package}{generation}", home.user),
        }
    }));
    notes.extend(row.failed_units.iter().flatten().map(|unit| format!("{unit} is failed")));
    if !row.reboot.is_empty() {
        notes.push(format!("a reboot is pending for {}", row.reboot.join(", ")));
    }
    notes
}
