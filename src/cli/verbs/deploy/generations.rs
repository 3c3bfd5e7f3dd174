//! `sealift generations`.

use crate::cli::app::{App, Done};
use crate::cli::verbs::deploy::Reach;
use crate::commands::agent::generations::here;
use crate::commands::deploy::generations::run as generations;
use crate::domain::deploy::generations::Generation;
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
    for generation in &report.generations {
        app.ui.line(&line(generation))?;
    }
    if report.generations.is_empty() {
        app.ui.say("nothing was deployed there yet");
    }
    Ok(None)
}

fn line(generation: &Generation) -> String {
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
    format!(
        "{:>4}  {date}  {}  linux {}  {} secrets  {}",
        generation.generation,
        or(&generation.nixos_version),
        or(&generation.kernel),
        generation.secrets.len(),
        words.join("; ")
    )
    .trim_end()
    .to_owned()
}
