//! `sealift status`.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::cli::ago::ago;
use crate::cli::app::{App, Done, nothing_yet, table};
use crate::cli::layout::first_that_fits;
use crate::cli::settings;
use crate::cli::verbs::deploy::args::Machines;
use crate::commands::Session;
use crate::commands::fleet::progress;
use crate::commands::fleet::status::{Row, run as status};
use crate::commands::hosts::select::Who;
use crate::domain::deploy::diff::Outcome;
use crate::domain::drift::same::{self, grouped};
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

pub fn run(args: Args, app: &App) -> Done {
    let session = app.session()?;
    let who = args.machines.who(&session.fleet.policy, false)?;
    // Without arguments the whole fleet is selected.
    let all = who.all || (who.words.is_empty() && who.root.as_os_str() == "/");
    if args.progress {
        return progress(&session, &Who { all, ..who }, args.json, app);
    }
    let rows = status(&session, &Who { all, ..who })?;
    if args.json {
        app.ui.json_rows("hosts", &rows)?;
    } else {
        if rows.is_empty() {
            nothing_yet(app, &session.fleet.policy);
        }
        let now = settings::now();
        let tables = (0..=LEAST).map(|less| table_of(&rows, less, now));
        table(app, &first_that_fits(tables, app.ui.screen().width))?;
        said(&rows).iter().for_each(|line| app.ui.say(line));
    }
    let gone = rows.iter().filter(|row| !row.reachable).count();
    Ok((gone > 0).then_some(if gone == rows.len() { Kind::Unreachable } else { Kind::Partial }))
}

/// Shows the progress of each machine. Exit code 4 if something is unknown.
fn progress(session: &Session, who: &Who, json: bool, app: &App) -> Done {
    let rows = progress::run(session, who)?;
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
    let mut said = Vec::new();
    for row in &rows {
        let mut known = BTreeSet::new();
        for (mark, what) in row.steps.iter().flat_map(|mark| mark.open.iter().map(move |what| (mark, what))) {
            // Leaves out the host's name in a reason, and a reason that was already shown for another step.
            let what = what.strip_prefix(&format!("{}: ", row.host)).unwrap_or(what);
            if known.insert(what) {
                said.push((&row.host, (mark.step, what)));
            }
        }
    }
    for ((step, what), hosts) in grouped(said) {
        app.ui.say(&match &hosts[..] {
            [host] => format!("{host}: {step}: {what}"),
            hosts => format!("{step}: {what}: {}", same::hosts(hosts)),
        });
    }
    Ok(kind)
}

/// The highest level of shortening.
const LEAST: usize = 7;

/// Returns the table. Higher levels of `less` leave out more, least important first.
fn table_of(rows: &[Row], less: usize, now: Timestamp) -> Vec<Vec<String>> {
    let columns = [
        ("host", true),
        (if less < 3 { "generation" } else { "gen" }, less < 5),
        ("commit", true),
        ("secrets", true),
        (if less < 3 { "failed units" } else { "failed" }, true),
        ("reboot", less < 7),
        ("last deploy", less < 6),
    ];
    let shown = |cells: Vec<String>| {
        // A row that only has a reason is not shortened.
        if cells.len() < columns.len() {
            return cells;
        }
        cells.into_iter().zip(columns).filter(|(_, (_, is))| *is).map(|(cell, _)| cell).collect()
    };
    let heads = columns.map(|(head, _)| head.to_owned()).to_vec();
    std::iter::once(heads).chain(rows.iter().map(|row| line(row, less, now))).map(shown).collect()
}

fn line(row: &Row, less: usize, now: Timestamp) -> Vec<String> {
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
            let commit = format!("{}{dirty}", commit.get(..7).unwrap_or(commit));
            match behind.filter(|behind| *behind > 0) {
                None => commit,
                Some(behind) if less < 4 => format!("{commit} ({behind} behind)"),
                Some(behind) => format!("{behind} behind"),
            }
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
            |last| match (less, last.outcome) {
                (0, outcome) => format!("{} {} by {}", last.ended, outcome.as_str(), last.who),
                (1, outcome) => format!("{}, {} by {}", ago(&last.ended, now), outcome.as_str(), last.who),
                // Success is the default and is not mentioned.
                (_, Outcome::Done | Outcome::Nothing) => ago(&last.ended, now),
                (_, outcome) => format!("{}, {}", ago(&last.ended, now), outcome.as_str()),
            },
        ),
    ]
}

/// Prefixes a note with its host, unless it starts with it.
fn of(host: &HostName, note: &str) -> String {
    let named = |after| note.strip_prefix(host.as_str()).is_some_and(|rest| rest.starts_with(after));
    if named(": ") || named(" ") { note.to_owned() } else { format!("{host}: {note}") }
}

/// What is said below the table: once for all hosts of which the same is to be said.
fn said(rows: &[Row]) -> Vec<String> {
    let of_rows = rows.iter().flat_map(|row| {
        let reason = row.reason.iter().map(move |reason| {
            let (summary, help) = row.summary.clone().unwrap_or_else(|| (reason.clone(), None));
            ((&row.host, reason.clone(), help), summary)
        });
        reason.chain(notes(row).into_iter().map(|note| ((&row.host, note.clone(), None), note)))
    });
    let told = grouped(of_rows).into_iter().map(|(what, hosts)| match &hosts[..] {
        [(host, alone, _)] => of(host, alone),
        [(_, _, help), rest @ ..] => {
            let help = help.as_ref().filter(|help| rest.iter().all(|(_, _, other)| other.as_ref() == Some(help)));
            let help = help.map_or_else(String::new, |help| format!("; {help}"));
            let names: Vec<&HostName> = hosts.iter().map(|(host, ..)| *host).collect();
            format!("{what}: {}{help}", same::hosts(&names))
        }
        [] => what,
    });
    told.collect()
}

fn notes(row: &Row) -> Vec<String> {
    let mut notes: Vec<String> = row.deploy.iter().cloned().collect();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::layout::columns;
    use crate::commands::fleet::status::Last;

    fn host(name: &str, outcome: Outcome) -> Row {
        Row {
            host: name.parse().unwrap(),
            reachable: true,
            reason: None,
            summary: None,
            never_deployed: false,
            running: None,
            specialisation: None,
            generation: Some(128),
            nixos_version: None,
            commit: Some("0123456789abcdef0123456789abcdef01234567-dirty".to_owned()),
            behind: Some(12),
            secrets: BTreeMap::from([("wifi".to_owned(), "another ciphertext".to_owned())]),
            failed_units: Some(vec!["nginx.service".to_owned()]),
            homes: Vec::new(),
            reboot: vec!["the kernel".to_owned()],
            deploy: None,
            last: Some(Last {
                run: "r".to_owned(),
                who: "jay@workstation".to_owned(),
                ended: "2026-11-25T22:10:09Z".to_owned(),
                outcome,
            }),
        }
    }

    #[test]
    fn a_host_has_one_line_at_eighty_columns() {
        let gone = Row { reason: Some("no route".to_owned()), reachable: false, ..host("build", Outcome::Done) };
        let rows = [host("framework-13", Outcome::Done), host("db", Outcome::RolledBack), gone];
        let now = "2026-11-28T23:00:00Z".parse().unwrap();
        let shown = |width| {
            let tables = (0..=LEAST).map(|less| table_of(&rows, less, now));
            columns(&first_that_fits(tables, width), width)
        };
        assert_eq!(
            shown(None),
            [
                "host          generation  commit                secrets        failed units  reboot   last deploy",
                "framework-13  128         0123456+ (12 behind)  1 out of date  1             pending  2026-11-25T22:10:09Z done by jay@workstation",
                "db            128         0123456+ (12 behind)  1 out of date  1             pending  2026-11-25T22:10:09Z rolled back by jay@workstation",
                "build         unreachable",
            ]
        );
        assert_eq!(
            shown(Some(80)),
            [
                "host          commit     secrets        failed  reboot   last deploy",
                "framework-13  12 behind  1 out of date  1       pending  3 days ago",
                "db            12 behind  1 out of date  1       pending  3 days ago, rolled back",
                "build         unreachable",
            ]
        );
        for width in [60, 80, 100, 120] {
            assert_eq!(shown(Some(width)).len(), 4, "{:#?}", shown(Some(width)));
        }
    }

    #[test]
    fn what_is_the_same_is_said_once() {
        let away = |name: &str, help: &str| Row {
            reason: Some(format!("{name}: jay@{name} does not answer: ssh says so; {help}")),
            summary: Some(("there is no answer".to_owned(), Some(help.to_owned()))),
            secrets: BTreeMap::new(),
            failed_units: None,
            reboot: Vec::new(),
            ..host(name, Outcome::Done)
        };
        let one = || away("a", "is it on?");
        assert_eq!(said(&[one()]), ["a: jay@a does not answer: ssh says so; is it on?"]);
        assert_eq!(said(&[one(), away("b", "is it on?")]), ["there is no answer: a, b (2 hosts); is it on?"]);
        assert_eq!(said(&[one(), away("b", "try b")]), ["there is no answer: a, b (2 hosts)"]);
        let here = [host("web", Outcome::Done), one(), Row { reboot: Vec::new(), ..host("db", Outcome::Done) }];
        assert_eq!(
            said(&here),
            [
                "wifi: another ciphertext: web, db (2 hosts)",
                "nginx.service is failed: web, db (2 hosts)",
                "web: a reboot is pending for the kernel",
                "a: jay@a does not answer: ssh says so; is it on?",
            ]
        );
    }
}
