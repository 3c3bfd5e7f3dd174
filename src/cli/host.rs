//! `sealift-host`: only what hosts run as root. Options, exit codes and JSON are the same as for these verbs of
//! `sealift`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use secrecy::SecretString;

use crate::adapters::prompt::Ask;
use crate::cli::args::Global;
use crate::cli::input::Given;
use crate::cli::print::Printer;
use crate::cli::run::{self, Done, EXIT_CODES};
use crate::cli::verbs::agent::{host_run, install, provision};
use crate::commands::talk::{Event, Talk};
use crate::error::{Error, Kind, Result};

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "sealift-host",
    version,
    about = "The part of sealift that hosts run",
    after_help = EXIT_CODES,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Subcommand)]
enum Verb {
    Install(install::Args),
    #[command(name = "host-run")]
    HostRun(host_run::Args),
    Provision(provision::Args),
}

/// Runs the program. Everything is printed when it returns.
pub fn main() -> ExitCode {
    run::begin();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return run::usage(error, &Cli::command()),
    };
    let printer = Arc::new(Printer::new(cli.global.quiet, None, Box::new(|write| write())));
    let (printed, global) = (Arc::clone(&printer), cli.global);
    run::run(&printer, || perform(cli.verb, &global, &printed))
}

fn perform(verb: Verb, global: &Global, printer: &Arc<Printer>) -> Done {
    match verb {
        Verb::HostRun(args) => host_run::run(&args, printer),
        Verb::Provision(args) => provision::run(&args, printer),
        Verb::Install(args) => {
            let given = Given::new(global.passphrase_fd);
            let talk: Arc<dyn Talk> = Arc::new(Unattended { printer: Arc::clone(printer), given });
            install::run(args, &global.identity, printer, &talk)
        }
    }
}

/// A host has no user to ask.
struct Unattended {
    printer: Arc<Printer>,
    given: Given,
}

impl Ask for Unattended {
    fn passphrase(&self, what: &str) -> Result<SecretString> {
        self.given.get()?.ok_or_else(|| {
            Error::new(
                Kind::NoIdentity,
                format!("{what} cannot be used: it is protected by a passphrase, and nobody is asked"),
            )
            .help("give it with `--passphrase-fd N`, or run `sealift install MANIFEST`, which asks at a terminal")
        })
    }

    fn password(&self, what: &str) -> Result<SecretString> {
        Err(Error::failed(format!("there is nobody to ask for the {what}")))
    }

    fn tell(&self, message: &str) {
        self.printer.say(message);
    }

    fn confirm(&self, _question: &str) -> Result<bool> {
        Ok(false)
    }
}

impl Talk for Unattended {
    fn event(&self, event: Event) {
        match event.printed() {
            Some((text, true)) => self.printer.warn(&text),
            Some((text, false)) => self.printer.say(&text),
            None => {}
        }
    }
}
