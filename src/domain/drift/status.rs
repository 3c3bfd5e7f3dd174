//! How a file compares with the policy, as far as that is known without a key. `check`, `rekey` and `list` all use
//! this, so that their results cannot differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::drift::access::Access;
use crate::domain::name::FileName;
use crate::domain::policy::Keys;
use crate::domain::secret::age_header::{self, Fault};
use crate::domain::secret::inventory::Found;
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::domain::secret::seal::Seal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no file.
    Missing,
    /// It cannot be opened.
    Broken(Fault),
    /// Its seal names this other file: it was swapped, renamed or copied.
    WrongName(FileName),
    /// Its stanzas do not match its seal.
    Contradiction(String),
    /// It has no seal.
    Unsealed,
    /// Its readers differ from those of the policy.
    Drift(Access),
    /// Everything is as it should be.
    InLine,
}

impl Standing {
    /// The standing of the file with this name, whose readers should be `should`.
    pub fn of(file: &FileName, found: Option<&Found>, should: &BTreeSet<Fingerprint>, keys: &Keys<'_>) -> Self {
        match credible(file, found, &keys.known) {
            Err(standing) => standing,
            Ok(seal) if seal.current == *should => Standing::InLine,
            Ok(seal) => Standing::Drift(Access::of_seal(seal, should, keys)),
        }
    }

    /// What a person can do about a file of this name of which nothing is to be believed.
    pub fn advice(&self, file: &FileName) -> String {
        match self {
            Standing::Broken(fault) => fault.advice(file),
            Standing::WrongName(_) => age_header::rename(file),
            Standing::Contradiction(_) => age_header::restore(file),
            Standing::Missing | Standing::Unsealed | Standing::Drift(_) | Standing::InLine => String::new(),
        }
    }

    /// Why the file's own statements cannot be trusted; `None` if they can.
    pub fn damage(&self) -> Option<String> {
        match self {
            Standing::Broken(fault) => Some(fault.to_string()),
            Standing::WrongName(name) => Some(format!("its seal says that it is {name}")),
            Standing::Contradiction(what) => Some(what.clone()),
            Standing::Missing | Standing::Unsealed | Standing::Drift(_) | Standing::InLine => None,
        }
    }
}

/// The seal of the file with this name, if it is credible; otherwise the file's standing.
pub fn credible<'a>(
    file: &FileName,
    found: Option<&'a Found>,
    known: &BTreeMap<Fingerprint, &Recipient>,
) -> Result<&'a Seal, Standing> {
    let envelope = match found {
        None => return Err(Standing::Missing),
        Some(Found::Broken(fault)) => return Err(Standing::Broken(*fault)),
        Some(Found::Sealed(envelope)) => envelope,
    };
    let seal = envelope.seal.as_ref().ok_or(Standing::Unsealed)?;
    if seal.name != *file {
        return Err(Standing::WrongName(seal.name.clone()));
    }
    match envelope.contradiction(known) {
        Some(what) => Err(Standing::Contradiction(what)),
        None => Ok(seal),
    }
}
