//! Lists the generations of a machine and how a rollback to each would change its secrets. Reads links and file
//! headers, and decrypts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::adapters::age::armor;
use crate::adapters::fs::root::Root;
use crate::adapters::host::host_key::machine_keys;
use crate::adapters::host::{closure, home, profile};
use crate::domain::deploy::generations::{Generation, Generations, Secret};
use crate::domain::manifest::{Manifest, Placement};
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::domain::secret::seal::Envelope;
use crate::error::Result;

/// Lists the generations below a root directory: `/` for this machine.
pub fn here(root: &Path) -> Result<Generations> {
    let root = Root::open(root)?;
    let keys = keys(&root);
    let current = profile::current(&root);
    let [running, booted] = [closure::RUNNING, closure::BOOTED].map(|link| root.store_path(link));
    let read = profile::generations(&root).into_iter().map(|generation| {
        let sealed = generation
            .leads_to
            .as_deref()
            .and_then(|system| closure::manifest(&root, system))
            .map_or_else(Vec::new, |manifest| sealed(&root, &manifest));
        (generation, sealed)
    });
    let read: Vec<_> = read.collect();
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, sealed) in &read {
        for (placement, envelope) in sealed {
            let Some(seal) = envelope.as_ref().and_then(|envelope| envelope.seal.as_ref()) else { continue };
            let serial = newest.entry(placement.target.name.as_str()).or_default();
            *serial = (*serial).max(seal.serial);
        }
    }
    let generations = read.iter().rev().map(|(generation, sealed)| {
        let facts = generation.leads_to.as_deref().and_then(|system| closure::facts(&root, system).ok());
        let runs = |(name, system): (String, String)| (running.as_ref() == Some(&system)).then_some(name);
        let specialisations = generation.leads_to.as_deref().map(|system| closure::specialisations(&root, system));
        let is = |link: &Option<String>| generation.leads_to.is_some() && *link == generation.leads_to;
        let secrets: Vec<_> = sealed
            .iter()
            .map(|(placement, envelope)| Secret {
                name: placement.target.name.to_string(),
                serial: envelope.as_ref().and_then(|envelope| Some(envelope.seal.as_ref()?.serial)),
            })
            .collect();
        let older = |secret: &&Secret| {
            secret.serial.is_some_and(|serial| newest.get(secret.name.as_str()).is_some_and(|newest| serial < *newest))
        };
        let revives = secrets.iter().filter(older).map(|secret| secret.name.clone()).collect();
        let closed = sealed
            .iter()
            .filter(|(_, envelope)| !envelope.as_ref().is_some_and(|envelope| opens(envelope, keys.as_ref())));
        Generation {
            generation: generation.number,
            date: generation.made.map(|made| made.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            nixos_version: facts.as_ref().map(|facts| facts.version.clone()),
            kernel: facts.as_ref().map(|facts| facts.kernel.clone()),
            current: current == Some(generation.number),
            running: is(&running),
            booted: is(&booted),
            specialisation: specialisations.into_iter().flatten().find_map(runs),
            unit: facts.as_ref().is_some_and(|facts| facts.has_unit),
            revives,
            cannot_open: closed.map(|(placement, _)| placement.target.name.to_string()).collect(),
            secrets,
            system: generation.leads_to.clone(),
        }
    });
    let generations = generations.collect();
    Ok(Generations { version: 1, generations, homes: home::states(&root), root: root.path().to_owned() })
}

/// Returns the secrets of a manifest with absolute paths and their headers. A file that cannot be read has no header.
pub fn sealed(root: &Root, manifest: &str) -> Vec<(Placement, Option<Envelope>)> {
    let Some(installable) = root.read(manifest).ok().flatten().and_then(|text| Manifest::parse(&text).ok()) else {
        return Vec::new();
    };
    let folder =
        root.resolved(manifest).and_then(|place| Some(place.rsplit_once('/')?.0.to_owned())).unwrap_or_default();
    let envelope = |file: &str| {
        let bytes = root.read(file).ok().flatten()?;
        let binary = armor::dearmored(&bytes).ok()?;
        Envelope::read(binary.as_deref().unwrap_or(&bytes)).ok()
    };
    let of = |mut placement: Placement| {
        if !placement.file.starts_with('/') {
            placement.file = format!("{folder}/{}", placement.file);
        }
        let envelope = envelope(&placement.file);
        (placement, envelope)
    };
    installable.placements.into_iter().map(of).collect()
}

/// Returns the machine's keys whose public half is readable. None if it may have an age key: only root can read that.
pub fn keys(root: &Root) -> Option<BTreeMap<Fingerprint, Recipient>> {
    if root.exists("/var/lib/sealift/identity") {
        return None;
    }
    let parsed = machine_keys(root).into_iter().filter_map(|line| Recipient::parse(&line).ok());
    Some(parsed.map(|key| (key.fingerprint(), key)).collect())
}

/// Whether one of the keys opens a file, judging by its header.
pub fn opens(envelope: &Envelope, keys: Option<&BTreeMap<Fingerprint, Recipient>>) -> bool {
    let Some(keys) = keys else { return true };
    if let Some(seal) = &envelope.seal {
        return seal.current.iter().any(|key| keys.contains_key(key));
    }
    let tags: BTreeSet<_> = keys.values().filter_map(Recipient::ssh_tag).collect();
    envelope.stanzas.iter().any(|slot| slot.tag.is_none_or(|tag| tags.contains(&tag)))
}
