//! `sealift list`.

use crate::cli::app::{App, Done, long_table, nothing_yet};
use crate::cli::matrix::Picture;
use crate::cli::verbs::deploy::args::Word;
use crate::commands::secrets::list::{Row, State, by_tag, list, matrix};
use crate::domain::drift::audit::{WEEK, days};
use crate::domain::policy::Selector;

/// The arguments of `sealift list`.
#[derive(clap::Args)]
pub struct Args {
    /// Who reads what: secrets × hosts
    #[arg(long)]
    matrix: bool,
    /// The same, with a column for each tag
    #[arg(long)]
    by_tag: bool,
    /// Only these hosts, and the secrets that concern them (may be given again)
    #[arg(long, value_name = "HOST|@TAG")]
    host: Vec<Word>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the list or the matrix.
pub fn run(args: &Args, app: &App) -> Done {
    let session = app.session()?;
    let words: Vec<Selector> = args.host.iter().map(|word| word.0.clone()).collect();
    if args.matrix || args.by_tag {
        let matrix = matrix(&session, &words)?;
        let picture = if args.by_tag {
            let all = by_tag(&session.fleet.policy, matrix);
            if args.json {
                app.ui.json(&all)?;
                return Ok(None);
            }
            Picture::new(all.columns, all.rows, &all.selectors, all.left_out)
        } else if args.json {
            app.ui.json(&matrix)?;
            return Ok(None);
        } else {
            Picture::of_hosts(&matrix)
        };
        if session.fleet.policy.secrets.is_empty() {
            nothing_yet(app, &session.fleet.policy);
            return Ok(None);
        }
        app.ui.paged(&picture.lines(app.ui.screen()))?;
        return Ok(None);
    }
    let rows = list(&session, &words)?;
    if args.json {
        app.ui.json_rows("files", &rows)?;
        return Ok(None);
    }
    if session.fleet.policy.secrets.is_empty() {
        nothing_yet(app, &session.fleet.policy);
    }
    // What no secret has is no column.
    let some = |has: &dyn Fn(&Row) -> bool| rows.iter().any(has);
    let (expires, rotation) = (some(&|row| row.expires.is_some()), some(&|row| row.rotate_every.is_some()));
    let description = some(&|row| !row.description.is_empty());
    let heads = [
        ("secret", true),
        ("state", true),
        ("version", true),
        ("sealed", true),
        ("expires", expires),
        ("rotation", rotation),
        ("shape", true),
        ("hosts", true),
        ("description", description),
    ];
    let shown = |cells: [String; 9]| cells.into_iter().zip(heads).filter(|(_, (_, is))| *is).map(|(cell, _)| cell);
    let mut lines = vec![shown(heads.map(|(head, _)| head.to_owned())).collect::<Vec<_>>()];
    for row in rows {
        let (expires, rotation) = (expiry(&row), rotation_of(&row));
        let state = match row.state {
            State::Sealed => "sealed",
            State::Drift => "DRIFT",
            State::Missing => "MISSING",
            State::Unsealed => "UNSEALED",
            State::Damaged => "DAMAGED",
        };
        let hosts = row.selectors;
        let serial = row.serial.map_or_else(|| "-".to_owned(), |serial| serial.to_string());
        let hosts = if hosts.is_empty() { "(admins alone)".to_owned() } else { hosts.join(" ") };
        let made = row.made.unwrap_or_else(|| "-".to_owned());
        let (file, state) = (row.file.to_string(), state.to_owned());
        let cells = [file, state, serial, made, expires, rotation, row.shape, hosts, row.description];
        lines.push(shown(cells).collect());
    }
    long_table(app, &lines)
}

/// When a value expires, and whether that is soon or past.
fn expiry(row: &Row) -> String {
    let Some(end) = &row.expires else { return "-".to_owned() };
    match row.expires_in.unwrap_or_default() {
        ..=0 => format!("{end} EXPIRED"),
        left @ 1..=WEEK => format!("{end} in {}", days(left)),
        _ => end.clone(),
    }
}

/// How often a value is to be rotated, and when it is due.
fn rotation_of(row: &Row) -> String {
    match (row.rotate_every, &row.due) {
        (None, _) => "-".to_owned(),
        (Some(every), Some(_)) if row.overdue => format!("{every}d OVERDUE"),
        (Some(every), Some(due)) => format!("{every}d due {due}"),
        (Some(every), None) => format!("{every}d"),
    }
}
