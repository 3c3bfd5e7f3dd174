//! Input besides the arguments: standard input, read to its end into a buffer that is wiped, and the passphrase of a
//! script.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

use secrecy::SecretString;

use crate::adapters::descriptor;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// Whether a file name means standard input. A file with that name is `./-`.
pub fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads standard input to its end.
pub fn standard_input(limit: usize) -> Result<Plaintext> {
    if std::io::stdin().is_terminal() {
        return Err(Error::usage("standard input is a terminal; `--stdin` expects data")
            .help("pipe the value in, or leave out `--stdin` to type it without echo"));
    }
    let input =
        std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| Error::io("standard input is closed", error))?;
    descriptor::to_end(input, "standard input", limit)
}

/// The passphrase that a script passes on a file descriptor.
pub struct Given {
    descriptor: Option<i32>,
    /// The line read from it, which answers every question of this run.
    line: OnceLock<SecretString>,
}

impl Given {
    /// Nothing is read from the descriptor yet.
    pub fn new(descriptor: Option<i32>) -> Self {
        Self { descriptor, line: OnceLock::new() }
    }

    /// Whether a descriptor was given.
    pub fn is_some(&self) -> bool {
        self.descriptor.is_some()
    }

    /// Returns the passphrase, if a descriptor was given.
    pub fn get(&self) -> Result<Option<SecretString>> {
        let Some(number) = self.descriptor else { return Ok(None) };
        if self.line.get().is_none() {
            let line = text(&descriptor::line_of_descriptor(number)?)?;
            // Two threads may reach this at the same time; the first has read the line.
            let _second = self.line.set(line);
        }
        Ok(self.line.get().cloned())
    }
}

/// Converts typed bytes to a string, in a buffer of exact size.
pub fn text(bytes: &Plaintext) -> Result<SecretString> {
    bytes.expose(|bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::usage("the passphrase is not UTF-8 text"))?;
        let mut exact = String::with_capacity(text.len());
        exact.push_str(text);
        Ok(SecretString::from(exact))
    })
}
