//! `host-run`, in both programs: the part of a deploy on the host, not for users. Reads a request from standard input,
//! and prints events to standard output, one JSON object per line.

use std::path::Path;
use std::sync::Arc;

use crate::adapters::fs::root::Root;
use crate::adapters::host::ack;
use crate::cli::environment;
use crate::cli::input::standard_input;
use crate::cli::print::Printer;
use crate::cli::run::Done;
use crate::commands::agent::caller::Caller;
use crate::commands::agent::events::Listener;
use crate::commands::agent::launch::Launcher;
use crate::commands::agent::{self, Part};
use crate::domain::deploy::protocol::{VERSION, is_run};
use crate::error::{Error, Kind};

/// The size limit of a request, in bytes.
const LIMIT: usize = 1 << 20;

/// The part of a deploy on the host: an order in, events out
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("part").multiple(false))]
pub struct Args {
    /// Do the work of the order on standard input, for the user of this number
    #[arg(long, value_name = "USER", group = "part")]
    here: Option<u32>,
    /// Finish or take back what a killed run left
    #[arg(long, group = "part")]
    recover: bool,
    /// With --recover: first wait for a run that is at work
    #[arg(long, requires = "recover")]
    wait: bool,
    /// Tell a run on this host that it was reached
    #[arg(long, value_name = "RUN", group = "part")]
    acknowledge: Option<String>,
    /// Print the version of the protocol
    #[arg(long, group = "part")]
    protocol: bool,
}

/// Reads a request and carries it out.
pub fn run(args: &Args, printer: &Arc<Printer>) -> Done {
    if args.protocol {
        printer.line(&VERSION.to_string())?;
        return Ok(None);
    }
    if let Some(run) = &args.acknowledge {
        if !is_run(run) {
            return Err(Error::usage("that is not the name of a run").into());
        }
        ack::acknowledge(run)?;
        return Ok(None);
    }
    let printed = Arc::clone(printer);
    // The work continues even if nobody reads the events.
    let listener: Listener = Box::new(move |told: &_| drop(printed.json_line(told)));
    let caller = environment::caller()?;
    let well = if args.recover {
        agent::recover(&Root::open(Path::new("/"))?, &caller.who, &Caller::run()?, args.wait, listener)
    } else {
        let part = match args.here {
            Some(user) => Part::Here(user),
            None => Part::Launcher(Launcher { program: caller.program, user: environment::user_behind_root() }),
        };
        standard_input(LIMIT)?.expose(|request| agent::run(request, &part, listener))
    };
    Ok((!well).then_some(Kind::Failed))
}
