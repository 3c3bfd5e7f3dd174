//! The command line: arguments become requests, reports become text or JSON. The only layer that prints, reads the
//! environment, or knows exit codes as numbers.

mod app;
mod args;
mod environment;
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

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::cli::run::EXIT_CODES;

pub use crate::cli::app::App;
pub use crate::cli::ui::Ui;

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "sealift",
    version,
    about = "Carries a NixOS fleet's secrets and its deploys",
    after_help = EXIT_CODES,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    global: args::Global,
    #[command(subcommand)]
    verb: verbs::Verb,
}

/// Runs the program; everything it has to say is said by then.
pub fn main() -> ExitCode {
    run::begin();
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return run::usage(error, &command()),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return run::usage(error, &command()),
    };
    let app = App::new(cli.global, command);
    let printer = Arc::clone(app.ui.printer());
    run::run(&printer, || cli.verb.run(&app))
}

fn command() -> clap::Command {
    Cli::command()
}
