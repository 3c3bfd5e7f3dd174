//! Staging: decrypts and checks everything with the host's own keys, and changes nothing. A host that cannot decrypt
//! its secrets is never switched.

use std::sync::Arc;

use serde::Serialize;

use crate::adapters::host::tmpfs::Run;
use crate::commands::install::open::{self, Owners};
use crate::commands::install::request::Request;
use crate::commands::talk::{Event, Talk};
use crate::error::Result;

#[derive(Debug, Serialize)]
pub struct Staged {
    /// The host that the manifest is for.
    pub host: String,
    /// The secrets, in the manifest's order.
    pub secrets: Vec<StagedSecret>,
    /// Owners and groups that do not exist yet. Installing before they are created would fail.
    pub unknown_owners: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct StagedSecret {
    pub name: String,
    /// The serial of the value; none for a file without a seal.
    pub serial: Option<u64>,
    /// Whether the value differs from the live one, or there is no live one.
    pub changed: bool,
}

/// Decrypts everything in memory. Takes no lock, mounts nothing, writes nothing. Owners must exist if the install comes
/// before anything that could create them.
pub fn stage(request: &Request, talk: &Arc<dyn Talk>, owners: Owners) -> Result<Staged> {
    let loaded = open::load(request)?;
    let run = Run::open(&request.root)?;
    let live = run.map_or(Ok(None), |run| run.live_generation(request.tree))?;
    let opened = open::open(request, &loaded, talk, owners);
    opened.refuse_failures()?;
    let mut secrets = Vec::with_capacity(opened.secrets.len());
    for secret in &opened.secrets {
        let (name, Ok(ready)) = (secret.target.name.as_str(), &secret.outcome) else { continue };
        if let Some(Err(obstacle)) = &ready.link {
            talk.event(Event::Warning(obstacle.error.in_one_line()));
        }
        let there = live.as_ref().and_then(|live| live.read(name).ok().flatten());
        let changed = !there.is_some_and(|(value, _)| value.same_as(&ready.value));
        secrets.push(StagedSecret { name: name.to_owned(), serial: ready.serial, changed });
    }
    Ok(Staged { host: loaded.manifest.host.to_string(), secrets, unknown_owners: opened.unknown_owners })
}
