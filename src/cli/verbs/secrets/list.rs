//! `sealift list`.

use crate::cli::app::{App, Done, table};
use crate::commands::secrets::list::{Cell, Row, State, list, matrix};
use crate::domain::counted::counted;

/// The arguments of `sealift list`.
#[derive(clap::Args)]
pub struct Args {
    /// Secrets × hosts
    #[arg(long)]
    matrix: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the list or the matrix.
pub fn run(args: &Args, app: &App) -> Done {
    let session = app.session()?;
    if args.matrix {
        let matrix = matrix(&session)?;
        if args.json {
            app.ui.json(&matrix)?;
            return Ok(None);
        }
        let mut rows = vec![
            std::iter::once("secret".to_owned())
                .chain(matrix.hosts.iter().map(ToString::to_string))
                .collect::<Vec<_>>(),
        ];
        for (file, cells) in &matrix.rows {
            let sign = |cell: &Cell| match cell {
                Cell::Reads => "reads",
                Cell::Lacks => "LACKS",
                Cell::Extra => "EXTRA",
                Cell::Knows => "knows",
                Cell::None => "·",
            };
            rows.push(
                std::iter::once(file.to_string()).chain(cells.iter().map(|cell| sign(cell).to_owned())).collect(),
            );
        }
        return table(app, &rows);
    }
    let rows = list(&session)?;
    if args.json {
        app.ui.json_rows("files", &rows)?;
        return Ok(None);
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
        let hosts: Vec<String> = row.hosts.iter().map(ToString::to_string).collect();
        let serial = row.serial.map_or_else(|| "-".to_owned(), |serial| serial.to_string());
        let hosts = if hosts.is_empty() { "(admins alone)".to_owned() } else { hosts.join(" ") };
        let made = row.made.unwrap_or_else(|| "-".to_owned());
        let (file, state) = (row.file.to_string(), state.to_owned());
        let cells = [file, state, serial, made, expires, rotation, row.shape, hosts, row.description];
        lines.push(shown(cells).collect());
    }
    table(app, &lines)
}

/// When a value expires, and whether that is soon or past.
fn expiry(row: &Row) -> String {
    let Some(end) = &row.expires else { return "-".to_owned() };
    match row.expires_in.unwrap_or_default() {
        ..=0 => format!("{end} EXPIRED"),
        left @ 1..=7 => format!("{end} in {}", counted(usize::try_from(left).unwrap_or(0), "day")),
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
