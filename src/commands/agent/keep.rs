//! A rollback that keeps values: writes a manifest for the restored system that uses, for each of its secrets, the
//! newest sealed file in any generation of this machine. Reads file headers, and decrypts nothing.

use std::collections::BTreeMap;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::host::{closure, profile};
use crate::commands::agent::generations::{keys, opens, sealed};
use crate::domain::manifest;
use crate::domain::name::FileName;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Kind, Result};

/// The path of the manifest. It exists only while the secrets delivered last come from it.
const PLACE: &str = "/var/lib/sealift/deploy/kept-values.json";

/// A secret that keeps its newer value.
pub struct Kept {
    pub name: String,
    /// The serial in the restored system, and the one that is kept.
    pub serials: (u64, u64),
}

/// Whether the last run kept values.
pub fn is_in_use(root: &Root) -> bool {
    root.exists(PLACE)
}

/// Removes the manifest of an earlier run.
pub fn forget(root: &Root) -> Result<()> {
    files::remove(&root.outside(PLACE))
}

/// Writes the manifest. Returns its path inside the root and the values that are kept, or none if all values of the
/// system are the newest.
pub fn manifest(root: &Root, system: &str) -> Result<Option<(&'static str, Vec<Kept>)>> {
    let Some(place) = closure::manifest(root, system) else { return Ok(None) };
    let keys = keys(root);
    // A file replaces another only if it is sealed under the same name, with the same shape, for a key of this machine.
    let mut newest: BTreeMap<(FileName, Shape), (u64, String)> = BTreeMap::new();
    let systems = profile::generations(root).into_iter().filter_map(|generation| generation.leads_to);
    for other in systems.chain(root.store_path(closure::RUNNING)) {
        let Some(place) = closure::manifest(root, &other) else { continue };
        for (placement, envelope) in sealed(root, &place) {
            let Some(envelope) = envelope.filter(|envelope| opens(envelope, keys.as_ref())) else { continue };
            let Some(seal) = envelope.seal.filter(|seal| seal.name == placement.sealed_as) else { continue };
            let best = newest.entry((placement.sealed_as, placement.shape)).or_default();
            if seal.serial > best.0 {
                *best = (seal.serial, placement.file);
            }
        }
    }
    let text = root.read(&place)?.ok_or_else(|| Error::failed(format!("there is no manifest {place}")))?;
    let mut whole: manifest::Manifest = serde_json::from_slice(&text)
        .map_err(|error| Error::usage(format!("{place} is not understood")).because(error))?;
    let mut kept = Vec::new();
    for (entry, (placement, envelope)) in whole.secrets.iter_mut().zip(sealed(root, &place)) {
        let own = envelope.and_then(|envelope| envelope.seal).map_or(0, |seal| seal.serial);
        entry.file = placement.file;
        if let Some((serial, file)) = newest.get(&(placement.sealed_as, placement.shape))
            && *serial > own
        {
            entry.file.clone_from(file);
            kept.push(Kept { name: entry.name.clone(), serials: (own, *serial) });
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let bytes =
        serde_json::to_vec(&whole).map_err(|error| Error::new(Kind::Bug, "cannot write a manifest").because(error))?;
    files::replace(&root.writable(PLACE)?, &bytes, 0o600, files::Durable::Later)?;
    Ok(Some((PLACE, kept)))
}
