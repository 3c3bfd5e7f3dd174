//! `host provision`: decrypts the host key generated for a machine and puts it into the machine's root.

use std::path::Path;

use serde::Serialize;

use crate::adapters::fs::root::Root;
use crate::adapters::git::Git;
use crate::adapters::host::host_key;
use crate::commands::Session;
use crate::commands::agent::provision::{Provisioned, in_repository, place};
use crate::commands::fleet::host::own_key;
use crate::commands::secrets::show;
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// What was put in place.
#[derive(Debug, Serialize)]
pub struct Report {
    pub host: HostName,
    #[serde(flatten)]
    pub provisioned: Provisioned,
}

pub fn run(session: &Session, name: &HostName, root: &Path) -> Result<Report> {
    let policy = &session.fleet.policy;
    let host = policy.host(name)?;
    let secret = own_key(name)?;
    if !policy.secrets.contains_key(secret.as_str()) {
        return Err(Error::usage(format!("no host key was generated for {name}: there is no secret {secret}"))
            .help(format!(
                "{name} was added with a key of its own, which is where it was made; `sealift host add NAME --generate` makes one for a new machine"
            )));
    }
    let root = Root::open(root)?;
    if let Some(git) = Git::find(root.path())? {
        return Err(in_repository(&root, &git.top));
    }
    let private = show::run(session, &secret.file())?;
    let public = host_key::public_half(&private).map_err(|error| error.about(secret.file().path()))?;
    if !host.keys.contains(&public) {
        return Err(Error::integrity(format!("{} is not the private half of a key of {name}", secret.file().path()))
            .help(format!(
                "recipients.toml has other keys for it: `sealift rm {secret}`, and give the machine one of those"
            )));
    }
    Ok(Report { host: name.clone(), provisioned: place(&root, &private, &public)? })
}
