//! `sealift list`.

use crate::cli::app::{App, Done, long_table, nothing_yet};
use crate::cli::layout::{first_that_fits, first_words, shortened};
use crate::cli::matrix::Picture;
use crate::cli::verbs::deploy::args::Word;
use crate::commands::secrets::list::{Row, State, list};
use crate::commands::secrets::matrix::{by_tag, matrix};
use crate::domain::drift::audit::{WEEK, days};
use crate::domain::policy::Selector;
use crate::error::Result;

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
    let policy = &session.fleet.policy;
    let words: Vec<Selector> = args.host.iter().map(|word| word.selector(policy)).collect::<Result<_>>()?;
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
    let screen = app.ui.screen();
    let tables = (0..=LEAST).map(|less| table_of(&rows, less));
    long_table(app, &first_that_fits(tables, screen.width))
}

/// What is shown at each level of shortening: the version, the date of sealing, whether expiry and rotation share a
/// column, the width of the hosts, and the width of the description. The least important goes first.
const STEPS: [(bool, bool, bool, usize, usize); 14] = [
    (true, true, false, 24, 40),
    (true, true, false, 24, 24),
    (true, true, false, 16, 16),
    (false, true, false, 24, 24),
    (false, true, false, 16, 16),
    (false, false, false, 24, 40),
    (false, false, false, 24, 24),
    (false, false, false, 16, 16),
    (false, false, false, 40, 0),
    (false, false, false, 24, 0),
    (false, false, false, 16, 0),
    (false, false, true, 24, 0),
    (false, false, true, 16, 0),
    (false, false, true, 10, 0),
];
/// The highest level of shortening: first the dates get shorter, then the shape is left out, then the steps above
/// apply.
const LEAST: usize = STEPS.len() + 2;

/// Returns the table. Higher levels of `less` leave out more, least important first.
fn table_of(rows: &[Row], less: usize) -> Vec<Vec<String>> {
    // Columns without any content are left out.
    let some = |has: &dyn Fn(&Row) -> bool| rows.iter().any(has);
    let (expires, rotation) = (some(&|row| row.expires.is_some()), some(&|row| row.rotate_every.is_some()));
    let all = (true, true, false, usize::MAX, usize::MAX);
    let (version, sealed, merged, most_hosts, most_words) =
        less.checked_sub(3).and_then(|step| STEPS.get(step)).copied().unwrap_or(all);
    let due = merged && expires && rotation;
    let columns = [
        ("secret", true),
        ("state", true),
        ("version", version),
        ("sealed", sealed),
        ("due", due),
        ("expires", expires && !due),
        (if less == 0 { "rotation" } else { "rotate by" }, rotation && !due),
        ("shape", less < 2),
        ("hosts", true),
        ("description", most_words > 0 && some(&|row| !row.description.is_empty())),
    ];
    let cells = |row: &Row| {
        let state = match row.state {
            State::Sealed => "sealed",
            State::Drift => "DRIFT",
            State::Missing => "MISSING",
            State::Unsealed => "UNSEALED",
            State::Damaged => "DAMAGED",
        };
        let none = || "-".to_owned();
        [
            row.file.to_string(),
            state.to_owned(),
            row.serial.map_or_else(none, |serial| serial.to_string()),
            row.made.clone().unwrap_or_else(none),
            due_of(row),
            expiry(row, less > 0),
            rotation_of(row, less > 0),
            row.shape.clone(),
            if row.selectors.is_empty() {
                shortened("(admins alone)", most_hosts)
            } else {
                first_words(&row.selectors, most_hosts)
            },
            shortened(&row.description, most_words),
        ]
    };
    let heads = columns.map(|(head, _)| head.to_owned());
    let shown = |cells: [String; 10]| {
        cells.into_iter().zip(columns).filter(|(_, (_, is))| *is).map(|(cell, _)| cell).collect::<Vec<_>>()
    };
    std::iter::once(heads).chain(rows.iter().map(cells)).map(shown).collect()
}

/// Formats when a value expires. `short` leaves out the date if it is near or past.
fn expiry(row: &Row, short: bool) -> String {
    let Some(end) = &row.expires else { return "-".to_owned() };
    let said = match row.expires_in.unwrap_or_default() {
        ..=0 => "EXPIRED".to_owned(),
        left @ 1..=WEEK => format!("in {}", days(left)),
        _ => return end.clone(),
    };
    if short { said } else { format!("{end} {said}") }
}

/// Formats the expiry or the rotation of a value, whichever comes first.
fn due_of(row: &Row) -> String {
    match (&row.expires, &row.due) {
        (Some(end), Some(due)) if due < end => rotation_of(row, true),
        (None, Some(_)) => rotation_of(row, true),
        _ => expiry(row, true),
    }
}

/// Formats how often a value is rotated, and when it is due. `short` has only the due date.
fn rotation_of(row: &Row, short: bool) -> String {
    match (row.rotate_every, &row.due) {
        (None, _) => "-".to_owned(),
        (Some(_), Some(_)) if short && row.overdue => "OVERDUE".to_owned(),
        (Some(_), Some(due)) if short => due.clone(),
        (Some(_), None) if short => "-".to_owned(),
        (Some(every), Some(_)) if row.overdue => format!("{every}d OVERDUE"),
        (Some(every), Some(due)) => format!("{every}d due {due}"),
        (Some(every), None) => format!("{every}d"),
    }
}
