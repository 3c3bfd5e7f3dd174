//! `sealift-host provision`, and the report that `sealift host provision` shares with it.

use std::path::PathBuf;

use crate::cli::input::standard_input;
use crate::cli::print::Printer;
use crate::cli::run::Done;
use crate::commands::agent::provision::{Provisioned, run as provision};

/// The size limit of a private key, in bytes.
const LIMIT: usize = 64 << 10;

/// Put a host key into the root of a machine, before it boots for the first time
///
/// The private key, in OpenSSH's form, is read from standard input, as `sealift show host-keys/NAME` prints it: for an
/// installer that has no copy of the fleet. Another key that is there already is not overwritten.
#[derive(clap::Args)]
pub struct Args {
    /// The root of the new machine, such as /mnt
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, printer: &Printer) -> Done {
    let placed = provision(&args.root, &standard_input(LIMIT)?)?;
    if args.json {
        printer.json(&placed)?;
    } else {
        tell(&args.root.display().to_string(), &placed, printer);
    }
    Ok(None)
}

/// Reports what was put in place.
pub fn tell(machine: &str, done: &Provisioned, printer: &Printer) {
    match done.placed.as_slice() {
        [] => printer.say(&format!("{machine} has its key already ({})", done.fingerprint)),
        placed => printer.say(&format!("{machine} has its key ({}): {}", done.fingerprint, placed.join(", "))),
    }
    if !done.owned_by_root && !done.placed.is_empty() {
        printer.warn(
            "they belong to you: give them to root when they are copied, or your user there can read all its secrets",
        );
    }
}
