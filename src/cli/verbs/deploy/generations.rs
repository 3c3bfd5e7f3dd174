//! `sealift generations`.

use jiff::Timestamp;

use crate::cli::ago::ago;
use crate::cli::app::{App, Done, table};
use crate::cli::layout::{first_that_fits, shortened};
use crate::cli::settings;
use crate::cli::verbs::deploy::args::{Reach, Word};
use crate::commands::agent::generations::here;
use crate::commands::deploy::generations::run as generations;
use crate::domain::deploy::generations::Generation;
use crate::domain::deploy::home::{self, State};
use crate::domain::name::HostWord;

/// The arguments of `sealift generations`.
#[derive(clap::Args)]
pub struct Args {
    /// The host; without it, this machine
    host: Option<HostWord>,
    #[command(flatten)]
    reach: Reach,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, app: &App) -> Done {
    let report = if let Some(host) = args.host {
        let session = app.session()?;
        let words = vec![Word::Host(host).selector(&session.fleet.policy)?];
        generations(&session, &args.reach.who(words, false, false)?)?
    } else {
        here(&args.reach.who(Vec::new(), false, false)?.root)?
    };
    if args.json {
        app.ui.json_as_it_is(&report)?;
        return Ok(None);
    }
    let now = settings::now();
    let width = app.ui.screen().width;
    if report.generations.is_empty() {
        app.ui.say("nothing was deployed there yet");
    } else {
        let tables = (0..=LEAST).map(|less| table_of(&report.generations, less, now));
        table(app, &first_that_fits(tables, width))?;
    }
    for home in &report.homes {
        app.ui.line(&format!("home of {}:", home.user))?;
        table(app, &first_that_fits((0..=2).map(|less| table_of_home(home, less, now)), width))?;
    }
    Ok(None)
}

/// The generations of a home: at level 1 with shorter times, at level 2 with only the start of the package's hash.
fn table_of_home(home: &State, less: usize, now: Timestamp) -> Vec<Vec<String>> {
    let cells = |one: &home::HomeGeneration| {
        let active = one.package.is_some() && home.active == one.package;
        let marks =
            [(home.generation == Some(one.generation), "current"), (active, "active"), (one.package.is_none(), "gone")];
        let words: Vec<&str> = marks.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        let package = one.package.as_deref().unwrap_or("?");
        let short = shortened(package.strip_prefix("/nix/store/").unwrap_or(package), 9);
        vec![
            one.generation.to_string(),
            made(one.date.as_deref(), less, now),
            if less < 2 { package.to_owned() } else { short },
            words.join("; "),
        ]
    };
    let heads = ["generation", "made", "package", "is"].map(str::to_owned).to_vec();
    std::iter::once(heads).chain(home.generations.iter().rev().map(cells)).collect()
}

fn made(date: Option<&str>, less: usize, now: Timestamp) -> String {
    match date {
        None => "?".to_owned(),
        Some(date) if less == 0 => date.to_owned(),
        Some(date) => ago(date, now),
    }
}

/// The highest level of shortening.
const LEAST: usize = 7;

/// Returns the table. Higher levels of `less` leave out more, least important first.
fn table_of(generations: &[Generation], less: usize, now: Timestamp) -> Vec<Vec<String>> {
    let columns = [
        (if less < 3 { "generation" } else { "gen" }, true),
        ("made", true),
        ("nixos", less < 6),
        ("linux", less < 5),
        ("secrets", less < 7),
        ("is", true),
    ];
    let shown = |cells: Vec<String>| {
        cells.into_iter().zip(columns).filter(|(_, (_, is))| *is).map(|(cell, _)| cell).collect::<Vec<_>>()
    };
    let heads = columns.map(|(head, _)| head.to_owned()).to_vec();
    std::iter::once(heads).chain(generations.iter().map(|one| row(one, less, now))).map(shown).collect()
}

fn row(generation: &Generation, less: usize, now: Timestamp) -> Vec<String> {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let marks = [(generation.current, "current"), (generation.running, "running"), (generation.booted, "booted")];
    let mut words: Vec<String> = marks.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()).collect();
    words.extend(
        generation
            .specialisation
            .iter()
            .map(|name| if less < 2 { format!("its specialisation {name} runs") } else { format!("runs {name}") }),
    );
    if generation.system.is_none() {
        words.push(if less < 2 { "its system is gone" } else { "gone" }.to_owned());
    }
    // The number of secrets, if there is no room for their names.
    let secrets = |what: &str, short: &str, names: &[String]| match (names.len(), less) {
        (0, _) => None,
        (_, 0 | 1) => Some(format!("{what} {}", names.join(", "))),
        (count, _) => Some(format!("{short} {count}")),
    };
    words.extend(secrets("brings back older values of", "older values:", &generation.revives));
    words.extend(secrets("cannot open", "cannot open", &generation.cannot_open));
    let version = or(&generation.nixos_version);
    // The release, without its commit.
    let release = version.split('.').take(2).collect::<Vec<_>>().join(".");
    vec![
        generation.generation.to_string(),
        made(generation.date.as_deref(), less, now),
        if less < 4 { version } else { release },
        or(&generation.kernel),
        generation.secrets.len().to_string(),
        words.join("; "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::layout::columns;

    #[test]
    fn a_generation_has_one_line_at_sixty_columns() {
        let of = |number, revives: usize| Generation {
            generation: number,
            date: Some("2026-11-25T22:10:09Z".to_owned()),
            system: Some("/nix/store/s".to_owned()),
            nixos_version: Some("26.05.20261101.0123456".to_owned()),
            kernel: Some("6.12.58".to_owned()),
            current: number == 128,
            running: number == 128,
            revives: (0..revives).map(|at| format!("web/service-{at}-password")).collect(),
            ..Generation::default()
        };
        let all = [of(128, 0), of(127, 1), of(99, 31)];
        let now = "2026-11-28T23:00:00Z".parse().unwrap();
        let shown = |width| columns(&first_that_fits((0..=LEAST).map(|less| table_of(&all, less, now)), width), width);
        assert!(shown(None)[2].ends_with("brings back older values of web/service-0-password"));
        assert_eq!(
            shown(Some(80)),
            [
                "gen  made        nixos                   linux    secrets  is",
                "128  3 days ago  26.05.20261101.0123456  6.12.58  0        current; running",
                "127  3 days ago  26.05.20261101.0123456  6.12.58  0        older values: 1",
                "99   3 days ago  26.05.20261101.0123456  6.12.58  0        older values: 31",
            ]
        );
        for width in [60, 80, 100, 120] {
            assert_eq!(shown(Some(width)).len(), 4, "{:#?}", shown(Some(width)));
        }
    }
}
