//! `sealift list`.

use crate::cli::app::{App, Done, long_table};
use crate::cli::matrix::Picture;
use crate::cli::verbs::deploy::Word;
use crate::commands::secrets::list::{State, by_tag, list, matrix};
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
    /// Only these hosts, and what they have to do with (may be given again)
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
        app.ui.paged(&picture.lines(app.ui.screen()))?;
        return Ok(None);
    }
    let rows = list(&session, &words)?;
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
        let hosts = row.selectors;
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
    long_table(app, &lines)
}
