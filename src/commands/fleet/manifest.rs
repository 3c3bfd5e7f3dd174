//! `manifest`: the list of what one host installs, from the policy, with the fleet's own sealed files.

use crate::commands::Session;
use crate::domain::manifest::Manifest;
use crate::domain::name::{FileName, HostName};
use crate::domain::policy::Wanted;
use crate::error::{Error, Result};

/// Makes the manifest of a host. Needs no key: nothing is opened.
pub fn run(session: &Session, host: &HostName) -> Result<Manifest> {
    let policy = &session.fleet.policy;
    if !policy.hosts.contains_key(host) {
        return Err(policy.no_host(host));
    }
    let root = session.fleet.root.to_str().ok_or_else(|| Error::failed("the fleet's path is not UTF-8 text"))?;
    let file_of = |file: &FileName| format!("{}/{}", root.trim_end_matches('/'), file.path());
    let manifest = Manifest::of(policy, host, file_of);
    let wanted = policy.wanted();
    for entry in &manifest.secrets {
        if session.fleet.root.join(&entry.file).symlink_metadata().is_err() {
            let command = wanted.get(entry.sealed_as.as_str()).map(Wanted::first_value).unwrap_or_default();
            session.warn(format!("{} has no value yet: `{command}`", entry.name));
        }
    }
    Ok(manifest)
}
