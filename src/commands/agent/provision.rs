//! Puts a host key into the root of a machine before its first boot, so that the machine can decrypt its secrets.

use std::path::Path;

use serde::Serialize;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::host::host_key;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Result};

/// What was put in place.
#[derive(Debug, Serialize)]
pub struct Provisioned {
    /// The key's fingerprint, as ssh shows it.
    pub fingerprint: String,
    /// The new files; empty if the key was already there.
    pub placed: Vec<String>,
    /// Whether the files belong to root, as sshd requires.
    pub owned_by_root: bool,
}

/// Puts a private key in place without a fleet.
pub fn run(root: &Path, private: &Plaintext) -> Result<Provisioned> {
    let root = Root::open(root)?;
    if let Some(top) = files::enclosing(root.path(), ".git") {
        return Err(in_repository(&root, top));
    }
    let public = host_key::public_half(private).map_err(|error| error.about("standard input"))?;
    place(&root, private, &public)
}

/// Puts a private key in place. The caller has already checked its public half.
pub fn place(root: &Root, private: &Plaintext, public: &Recipient) -> Result<Provisioned> {
    Ok(Provisioned {
        placed: host_key::place(root, private, public)?,
        fingerprint: public.ssh_fingerprint().unwrap_or_default(),
        owned_by_root: rustix::process::geteuid().is_root(),
    })
}

/// Returns the error for a root inside a repository, where git could track the key.
pub fn in_repository(root: &Root, top: &Path) -> Error {
    Error::usage(format!("{} lies in the repository {}", root.path().display(), top.display()))
        .help("a private key must not be where git could track it: name the root of the new machine, such as /mnt")
}
