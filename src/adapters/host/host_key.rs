//! The SSH host keys of a machine: which it has, and how the key of a machine not booted yet is put below its root,
//! atomically and never over another key.

use std::path::Path;

use ssh_key::PrivateKey;

use crate::adapters::fs::beneath::{self, Beneath};
use crate::adapters::fs::root::Root;
use crate::domain::guarded::guarded;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Kind, Result};

/// sshd's key directory, relative to the root.
const FOLDER: &str = "etc/ssh";
const PRIVATE: &str = "etc/ssh/ssh_host_ed25519_key";
const PUBLIC: &str = "etc/ssh/ssh_host_ed25519_key.pub";
const LIMIT: u64 = 64 << 10;

/// The public half of a private key, with the key's comment.
///
/// Fails with `Integrity` if it is not a private key in OpenSSH's format.
pub fn public_half(private: &Plaintext) -> Result<Recipient> {
    let refused = || Error::integrity("it is not a private key in OpenSSH's format");
    let public = |bytes: &[u8]| PrivateKey::from_openssh(bytes).and_then(|key| key.public_key().to_openssh()).ok();
    let text = private.expose(|bytes| guarded(|| public(bytes))).flatten();
    Recipient::parse(&text.ok_or_else(refused)?)
}

/// Writes the key pair. Existing files with the same key stay. Returns the new files.
pub fn place(root: &Root, private: &Plaintext, public: &Recipient) -> Result<Vec<String>> {
    let shown = |path: &str| root.outside(path).display().to_string();
    let another = |path: &str, what: &str| {
        Error::failed(format!("{} is there already, and is {what}; nothing was changed", shown(path))).help(format!(
            "a machine's host key opens its secrets: if that one is not needed, move it away; else it goes into recipients.toml: `sealift host rekey NAME --key-file {}`",
            shown(PUBLIC)
        ))
    };
    let there = |path: &str| -> Result<Option<Plaintext>> {
        if root.outside(path).symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let Some(top) = Beneath::open(root.path())? else { return Ok(None) };
        let limit = usize::try_from(LIMIT).unwrap_or(usize::MAX);
        let read = top.read(path, limit, LIMIT).map_err(|error| error.of_kind(Kind::Failed));
        read.map(|(bytes, _)| Some(Plaintext::take(bytes)))
    };
    let (old, old_public) = (there(PRIVATE)?, there(PUBLIC)?);
    if let Some(old) = &old {
        match public_half(old) {
            Ok(key) if key == *public => {}
            Ok(key) => {
                return Err(another(PRIVATE, &format!("another key ({})", key.ssh_fingerprint().unwrap_or_default())));
            }
            Err(_) => return Err(another(PRIVATE, "no key that is understood")),
        }
    }
    if let Some(old) = &old_public {
        let key = old.expose(|bytes| Recipient::parse(&String::from_utf8_lossy(bytes)));
        if key.ok().as_ref() != Some(public) {
            return Err(another(PUBLIC, "the public half of another key"));
        }
    }
    // A killed run may have left temporary files with all or part of the key.
    beneath::sweep(root.path(), FOLDER);
    let mut placed = Vec::new();
    if old.is_none() {
        private.expose(|bytes| beneath::place(root.path(), PRIVATE, bytes, 0o600))?;
        placed.push(shown(PRIVATE));
    }
    if old_public.is_none() {
        let line = format!("{} {}", public.canonical(), public.comment());
        beneath::place(root.path(), PUBLIC, format!("{}\n", line.trim_end()).as_bytes(), 0o644)?;
        placed.push(shown(PUBLIC));
    }
    Ok(placed)
}

/// The public host keys of a root's machine, as `type base64`.
pub fn machine_keys(root: &Root) -> Vec<String> {
    let files =
        root.list("/etc/ssh").into_iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "pub"));
    files
        .filter_map(|name| root.text(&format!("/etc/ssh/{name}")))
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect()
}
