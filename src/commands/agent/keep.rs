//! A rollback that keeps values: the manifest of the system that comes back, with the newest sealed file that any generation of
//! this machine carries for each of its secrets. Reads headers; opens nothing.

use std::collections::BTreeMap;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::host::{closure, profile};
use crate::commands::agent::generations::{keys, opens, sealed};
use crate::domain::manifest;
use crate::domain::name::FileName;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Kind, Result};

/// Where the manifest is put. It is there as long as what it says was delivered by the last run.
const PLACE: &str = "/var/lib/sealift/deploy/kept-values.json";

/// A value that is kept.
pub struct Kept {
    pub name: String,
    /// The serials: of what the system carries, and of what is kept.
    pub serials: (u64, u64),
}

/// Whether the last run kept values.
pub fn is_in_use(root: &Root) -> bool {
    root.exists(PLACE)
}

/// Forgets what a run before kept.
pub fn forget(root: &Root) -> Result<()> {
    files::remove(&root.outside(PLACE))
}

/// Writes the manifest, and says where it is, from inside the root, and which values are kept; none where a system has no
/// older value than another generation.
pub fn manifest(root: &Root, system: &str) -> Result<Option<(&'static str, Vec<Kept>)>> {
    let Some(place) = closure::manifest(root, system) else { return Ok(None) };
    let keys = keys(root);
    // What may take the place of a file: sealed under the same name, with the same shape, for a key of this machine.
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
