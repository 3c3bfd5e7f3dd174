//! `install --check`: all checks that need no keys, for Nix to run while it builds a system. Reads only the manifest
//! and its files: no fleet, no git, no `/proc`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::adapters::age::armor::dearmored;
use crate::adapters::age::identity::Plugins;
use crate::commands::install::open::{self, Source};
use crate::commands::install::request::{Request, Strict};
use crate::domain::manifest::Placement;
use crate::domain::manifest::install_status::Tree;
use crate::domain::secret::age_header;
use crate::domain::secret::seal::Envelope;
use crate::error::{Error, Result};

/// The result of checking a valid manifest.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The host it is for.
    pub host: String,
    /// How many secrets it lists.
    pub secrets: usize,
}

/// Checks the whole manifest and the header of every file.
pub fn check(manifest: &Path) -> Result<Checked> {
    let loaded = open::load(&Request {
        manifest: manifest.to_owned(),
        root: PathBuf::from("/"),
        identities: Vec::new(),
        tree: Tree::Ordinary,
        user_dir: None,
        strict: Strict::Always,
        plugins: Plugins::default(),
    })?;
    let placements = &loaded.manifest.placements;
    let faults: Vec<Error> =
        placements.iter().filter_map(|placement| header(placement, &loaded.source).err()).collect();
    Error::unless_none(faults, |count| format!("{count} of {} secrets cannot be installed", placements.len()))?;
    Ok(Checked { host: loaded.manifest.host.to_string(), secrets: placements.len() })
}

/// Reads the header of a file and checks its seal against the manifest.
fn header(placement: &Placement, source: &Source) -> Result<()> {
    let (name, sealed_as) = (&placement.target.name, &placement.sealed_as);
    let bytes = source.read(placement)?;
    let binary = dearmored(&bytes).map_err(|error| error.about(name).help(age_header::restore(sealed_as)))?;
    let envelope = Envelope::read(binary.as_deref().unwrap_or(&bytes))
        .map_err(|fault| Error::integrity(format!("{name}: {fault}")).help(fault.advice(sealed_as)))?;
    if envelope.passphrase {
        return Err(Error::integrity(format!("{name}: it is sealed to a passphrase, not to keys"))
            .help(age_header::seal_to_keys(sealed_as)));
    }
    match &envelope.seal {
        Some(seal) if seal.name != *sealed_as => {
            Err(Error::integrity(format!("{name}: its seal says that it is {}, not {sealed_as}", seal.name))
                .help(age_header::rename(sealed_as)))
        }
        Some(_) => match envelope.contradiction(&std::collections::BTreeMap::new()) {
            Some(what) => Err(Error::integrity(format!("{name}: {what}")).help(age_header::restore(sealed_as))),
            None => Ok(()),
        },
        None if placement.allow_unsealed => Ok(()),
        None => Err(open::unsealed(placement)),
    }
}
