//! What `secrets/` holds, as far as it can be told without a private key.

use std::collections::BTreeMap;

use super::header::Fault;
use super::name::FileName;
use super::seal::{Envelope, Seal};

/// The sealed files of a fleet, and what else lies beside them.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Every `.age` file whose path is a name.
    pub files: BTreeMap<FileName, Found>,
    /// Paths under `secrets/` that are neither a sealed file nor the public half of one.
    pub strays: Vec<String>,
}

/// One file, read without a key.
#[derive(Debug)]
pub enum Found {
    /// An age file.
    Sealed(Envelope),
    /// Something that cannot be opened.
    Broken(Fault),
}

impl Found {
    /// The seal, if there is one.
    pub fn seal(&self) -> Option<&Seal> {
        match self {
            Found::Sealed(envelope) => envelope.seal.as_ref(),
            Found::Broken(_) => None,
        }
    }
}

impl Inventory {
    /// The seal of a file, if it is there and has one.
    pub fn seal(&self, file: &FileName) -> Option<&Seal> {
        self.files.get(file).and_then(Found::seal)
    }
}
