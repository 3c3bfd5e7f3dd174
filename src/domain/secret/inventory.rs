//! The content of `secrets/`, as far as it is known without a private key.

use std::collections::BTreeMap;

use crate::domain::name::FileName;
use crate::domain::secret::age_header::{Fault, Mac};
use crate::domain::secret::seal::{Envelope, Seal};

/// The sealed files of a fleet, and other files next to them.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Every `.age` file whose path is a valid name.
    pub files: BTreeMap<FileName, Found>,
    /// Paths under `secrets/` that are neither a sealed file nor the public half of one.
    pub strays: Vec<String>,
    /// The rules file of agenix, if there is one: files without a seal may be its.
    pub agenix: Option<&'static str>,
}

/// One file, read without a key.
#[derive(Debug)]
pub enum Found {
    /// An age file.
    Sealed(Envelope),
    /// A file that cannot be opened.
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

    /// What identifies it among age files.
    pub fn mac(&self) -> Option<Mac> {
        match self {
            Found::Sealed(envelope) => Some(envelope.mac),
            Found::Broken(_) => None,
        }
    }
}

impl Inventory {
    /// The envelopes of all files that could be read.
    pub fn envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.files.values().filter_map(|found| match found {
            Found::Sealed(envelope) => Some(envelope),
            Found::Broken(_) => None,
        })
    }

    /// The seal of a file, if it is there and has one.
    pub fn seal(&self, file: &FileName) -> Option<&Seal> {
        self.files.get(file).and_then(Found::seal)
    }
}
