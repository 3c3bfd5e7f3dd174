//! `sealift list`.

use crate::cli::app::{App, Done, table};
use crate::commands::secrets::list::{Cell, State, list, matrix};

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
    let mut lines = vec![["secret", "state", "version", "sealed", "shape", "hosts"].map(str::to_owned).to_vec()];
    for row in rows {
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
        lines.push(vec![
            row.file.to_string(),
            state.to_owned(),
            serial,
            row.made.unwrap_or_else(|| "-".to_owned()),
            row.shape,
            hosts,
        ]);
    }
    table(app, &lines)
}
