//! Standard input, read to its end into a wiped buffer.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use crate::adapters::terminal;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// Reads standard input to its end.
pub fn standard_input(limit: usize) -> Result<Plaintext> {
    if std::io::stdin().is_terminal() {
        return Err(Error::usage("standard input is a terminal; `--stdin` wants data")
            .hint("pipe the value in, or leave `--stdin` away to type it without echo"));
    }
    let input =
        std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| Error::io("standard input is closed", error))?;
    terminal::to_end(input, "standard input", limit)
}
