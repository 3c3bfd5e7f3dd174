//! What comes in beside the arguments: standard input, read to its end into a wiped buffer, and the passphrase of a script.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

use secrecy::SecretString;

use crate::adapters::descriptor;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// Whether a file's name stands for standard input; one that is called so is `./-`.
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

/// The passphrase that a script gives on a descriptor.
pub struct Given {
    descriptor: Option<i32>,
    /// What was read from there: one line serves every question of this run.
    line: OnceLock<SecretString>,
}

impl Given {
    /// On this descriptor; nothing is read yet.
    pub fn new(descriptor: Option<i32>) -> Self {
        Self { descriptor, line: OnceLock::new() }
    }

    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        self.descriptor.is_some()
    }

    /// It, if there is one.
    pub fn get(&self) -> Result<Option<SecretString>> {
        let Some(number) = self.descriptor else { return Ok(None) };
        if self.line.get().is_none() {
            let line = text(&descriptor::line_of_descriptor(number)?)?;
            // Two threads may come to this at once; the descriptor gave its line to the first.
            let _second = self.line.set(line);
        }
        Ok(self.line.get().cloned())
    }
}

/// Typed bytes as text, in one buffer of their own size.
pub fn text(bytes: &Plaintext) -> Result<SecretString> {
    bytes.expose(|bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::usage("the passphrase is not UTF-8 text"))?;
        let mut exact = String::with_capacity(text.len());
        exact.push_str(text);
        Ok(SecretString::from(exact))
    })
}
