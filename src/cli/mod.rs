//! The command line: arguments become requests, reports become text or JSON. The only layer that prints, reads the
//! environment, or knows exit codes as numbers.

mod ago;
mod app;
mod args;
mod complete;
mod environment;
mod examples;
#[cfg(target_os = "linux")]
pub mod host;
mod input;
mod layout;
mod matrix;
mod print;
mod run;
mod sarif;
mod settings;
mod ui;
mod verbs;

use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::cli::run::EXIT_CODES;

pub use crate::cli::app::App;

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "sealift",
    version,
    about = "Carries a NixOS fleet's secrets and its deploys",
    after_help = EXIT_CODES,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    global: args::Global,
    #[command(subcommand)]
    verb: verbs::Verb,
}

/// Runs the program. Everything is printed when it returns.
pub fn main() -> ExitCode {
    run::begin();
    if let Some(shell) = environment::variable(complete::SHELL) {
        return complete::answer(&shell, command());
    }
    let parsed = if asks_for_help() { command() } else { Cli::command() };
    let matches = match parsed.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return run::usage(if asks_for_help() { error } else { with_examples(error) }, &Cli::command()),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return run::usage(error, &command()),
    };
    let app = App::new(cli.global, command);
    let printer = Arc::clone(app.ui.printer());
    run::run(&printer, || cli.verb.run(&app).inspect(|_| app.ui.say_last()))
}

/// Whether the arguments explicitly request help. Only then are the examples added, so that the page is rendered once.
fn asks_for_help() -> bool {
    let mut words = std::env::args_os().skip(1).peekable();
    words.peek().is_none() || words.any(|word| word == "-h" || word == "--help" || word == "help")
}

/// Adds the examples to help that was not requested explicitly: `-qh`, or a missing verb.
fn with_examples(error: clap::Error) -> clap::Error {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            command().try_get_matches().err().unwrap_or(error)
        }
        _ => error,
    }
}

fn command() -> clap::Command {
    examples::shown(Cli::command())
}
