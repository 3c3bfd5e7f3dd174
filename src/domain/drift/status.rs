//! How a file stands to the policy, as far as it is known without a key. Anyone who asks, asks here: what `check` finds,
//! what `rekey` plans and what `list` says cannot differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::drift::access::Access;
use crate::domain::name::FileName;
use crate::domain::policy::Keys;
use crate::domain::secret::age_header::Fault;
use crate::domain::secret::inventory::Found;
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::domain::secret::seal::Seal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    Missing,
    /// It cannot be opened.
    Broken(Fault),
    /// Its seal names this other file: it was swapped, renamed or copied.
    WrongName(FileName),
    /// Its stanzas do not fit its seal.
    Contradiction(String),
    /// It has no seal.
    Unsealed,
    /// Its readers are not those of the policy.
    Drift(Access),
    /// All is as it should be.
    InLine,
}

impl Standing {
    /// How the file of this name stands, whose readers should be these.
    pub fn of(file: &FileName, found: Option<&Found>, should: &BTreeSet<Fingerprint>, keys: &Keys<'_>) -> Self {
        match credible(file, found, &keys.known) {
            Err(standing) => standing,
            Ok(seal) if seal.current == *should => Standing::InLine,
            Ok(seal) => Standing::Drift(Access::of_seal(seal, should, keys)),
        }
    }

    /// Why nothing that the file says of itself is to be believed, if it is not.
    pub fn damage(&self) -> Option<String> {
        match self {
            Standing::Broken(fault) => Some(fault.to_string()),
            Standing::WrongName(name) => Some(format!("its seal says that it is {name}")),
            Standing::Contradiction(what) => Some(what.clone()),
            Standing::Missing | Standing::Unsealed | Standing::Drift(_) | Standing::InLine => None,
        }
    }
}

/// The seal of the file of this name, if nothing speaks against it.
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
