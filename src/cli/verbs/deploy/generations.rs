//! `sealift generations`.

use crate::cli::app::{App, Done, table};
use crate::cli::verbs::deploy::args::Reach;
use crate::commands::agent::generations::here;
use crate::commands::deploy::generations::run as generations;
use crate::domain::deploy::generations::Generation;
use crate::domain::deploy::home::{self, State};
use crate::domain::name::HostName;
use crate::domain::policy::Selector;

/// The arguments of `sealift generations`.
#[derive(clap::Args)]
pub struct Args {
    /// The host; without it, this machine
    host: Option<HostName>,
    #[command(flatten)]
    reach: Reach,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// Lists.
pub fn run(args: Args, app: &App) -> Done {
    let who = args.reach.who(args.host.into_iter().map(Selector::Host).collect(), false, false)?;
    let report = if who.words.is_empty() { here(&who.root)? } else { generations(&app.session()?, &who)? };
    if args.json {
        app.ui.json_as_it_is(&report)?;
        return Ok(None);
    }
    if !report.generations.is_empty() {
        let mut rows = vec![["generation", "made", "nixos", "linux", "secrets", "is"].map(str::to_owned).to_vec()];
        rows.extend(report.generations.iter().map(row));
        table(app, &rows)?;
    }
    for home in &report.homes {
        app.ui.line(&format!("home of {}:", home.user))?;
        home.generations.iter().rev().try_for_each(|one| app.ui.line(&home_line(home, one)))?;
    }
    if report.generations.is_empty() {
        app.ui.say("nothing was deployed there yet");
    }
    Ok(None)
}

/// One generation of a home.
fn home_line(home: &State, one: &home::HomeGeneration) -> String {
    let active = one.package.is_some() && home.active == one.package;
    let marks =
        [(home.generation == Some(one.generation), "current"), (active, "active"), (one.package.is_none(), "gone")];
    let words: Vec<&str> = marks.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
    let (date, package) = (one.date.as_deref().unwrap_or("?"), one.package.as_deref().unwrap_or("?"));
    format!("{:>4}  {date}  {package}  {}", one.generation, words.join("; ")).trim_end().to_owned()
}

fn row(generation: &Generation) -> Vec<String> {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let marks = [(generation.current, "current"), (generation.running, "running"), (generation.booted, "booted")];
    let mut words: Vec<String> = marks.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()).collect();
    words.extend(generation.specialisation.iter().map(|name| format!("its specialisation {name} runs")));
    if generation.system.is_none() {
        words.push("its system is gone".to_owned());
    }
    if !generation.revives.is_empty() {
        words.push(format!("brings back older values of {}", generation.revives.join(", ")));
    }
    if !generation.cannot_open.is_empty() {
        words.push(format!("cannot open {}", generation.cannot_open.join(", ")));
    }
    let date = generation.date.clone().unwrap_or_else(|| "?".to_owned());
    vec![
        generation.generation.to_string(),
        date,
        or(&generation.nixos_version),
        or(&generation.kernel),
        generation.secrets.len().to_string(),
        words.join("; "),
    ]
}
