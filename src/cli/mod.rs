//! The command line: arguments become requests, reports become text or JSON. The only layer that prints, reads the
//! environment, or knows exit codes as numbers.

mod app;
mod args;
mod input;
mod layout;
mod matrix;
mod sarif;
mod settings;
mod ui;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::adapters::{process, signals};
use crate::domain::guarded::is_guarded;
use crate::error::Kind;

pub use crate::cli::app::App;
pub use crate::cli::ui::Ui;

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "sealift",
    version,
    about = "Carries a NixOS fleet's secrets and its deploys",
    after_help = "Exit codes: 0 done, 1 failed and nothing changed, 2 usage or invalid fleet, 3 drift, 4 partial, 5 no identity, \
                  6 rolled back, 7 host unreachable, 8 integrity, 9 a person is needed, 10 plaintext found, 11 could not look \
                  everywhere, 70 a bug, 130 interrupted.",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    global: settings::Global,
    #[command(subcommand)]
    verb: verbs::Verb,
}

/// Runs the program; everything it has to say is said by then.
pub fn main() -> ExitCode {
    signals::listen();
    settings::keep_to_ourselves();
    process::raise_open_files();
    process::look_in(settings::path());
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return ui::usage(error, &command()),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return ui::usage(error, &command()),
    };
    let app = App::new(cli.global, command);
    let ui = app.ui.clone();
    // A panic tells where, and never what: its message could hold a value.
    std::panic::set_hook(Box::new(move |panic| {
        if is_guarded() {
            return;
        }
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        ui.warn(&format!("sealift has a defect{place}; please report it"));
    }));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cli.verb.run(&app)));
    match outcome {
        Ok(Ok(None)) => ExitCode::SUCCESS,
        Ok(Ok(Some(kind))) => ExitCode::from(kind.code()),
        Ok(Err(error)) => app.ui.failed(&error),
        Err(_) => ExitCode::from(Kind::Bug.code()),
    }
}

fn command() -> clap::Command {
    Cli::command()
}
