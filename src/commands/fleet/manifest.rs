//! `manifest`: the list of what one host installs, made from the policy, with paths of the fleet's sealed files.

use crate::commands::Session;
use crate::commands::lacking::lacking;
use crate::domain::drift::lacking::told;
use crate::domain::drift::same::grouped;
use crate::domain::manifest::Manifest;
use crate::domain::name::{FileName, HostName};
use crate::error::{Error, Result};

/// Builds the manifest of a host. Needs no key: nothing is decrypted.
pub fn run(session: &Session, host: &HostName) -> Result<Manifest> {
    let policy = &session.fleet.policy;
    let root = session.fleet.root.to_str().ok_or_else(|| Error::failed("the fleet's path is not UTF-8 text"))?;
    let file_of = |file: &FileName| format!("{}/{}", root.trim_end_matches('/'), file.path());
    let manifest = Manifest::of(policy, host, file_of);
    let wanted = policy.wanted();
    let missing =
        manifest.secrets.iter().filter(|entry| session.fleet.root.join(&entry.file).symlink_metadata().is_err());
    let missing = lacking(&session.fleet, missing.filter_map(|entry| wanted.get(entry.sealed_as.as_str())));
    for (how, files) in grouped(missing.iter().map(|one| (one, one.how))) {
        session.warn(told(how, &files));
    }
    Ok(manifest)
}
