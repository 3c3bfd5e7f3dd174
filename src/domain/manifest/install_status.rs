//! What is installed: the two trees, and the status file in each generation of secrets. It contains everything but the
//! values.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::policy::paths::{DELIVERED, DELIVERED_FOR_USERS};

/// The version of the status that this program writes and reads.
pub const VERSION: u32 = 1;
/// The file name of the status in a generation's directory. No secret's name begins with a dot.
pub const STATUS: &str = ".status.json";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tree {
    /// `/run/sealift`: users can enter it and read the files that they have permission for.
    #[default]
    Ordinary,
    /// `/run/sealift-users`: secrets that are needed to create the users, so for root only.
    Users,
}

impl Tree {
    /// The symlink to the current generation, as used by programs on the host.
    pub fn delivered(self) -> &'static str {
        match self {
            Tree::Ordinary => DELIVERED,
            Tree::Users => DELIVERED_FOR_USERS,
        }
    }

    /// The name of that symlink in `/run`.
    pub fn link(self) -> &'static str {
        match self {
            Tree::Ordinary => "sealift",
            Tree::Users => "sealift-users",
        }
    }

    /// The name of the directory in `/run` that contains the generations.
    pub fn place(self) -> &'static str {
        match self {
            Tree::Ordinary => "sealift.d",
            Tree::Users => "sealift-users.d",
        }
    }

    /// The permissions of its directories: others may enter but not list them, or have no access at all.
    pub fn directory_mode(self) -> u32 {
        match self {
            Tree::Ordinary => 0o751,
            Tree::Users => 0o700,
        }
    }

    /// The generation that a target of the symlink names; `None` if the target is not one of ours.
    pub fn generation(self, target: &str) -> Option<u64> {
        number(target.strip_prefix(self.place())?.strip_prefix('/')?)
    }
}

/// The number in the name of a generation's directory; `None` if it is not in canonical form.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.bytes().all(|b| b.is_ascii_digit()) && !name.starts_with('0');
    digits.then(|| name.parse().ok()).flatten()
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: u32,
    /// The host that the manifest is for.
    pub host: String,
    pub generation: u64,
    /// The generation that was current before it.
    pub former: Option<u64>,
    /// When it was installed, in UTC.
    pub installed: String,
    /// SHA-256 of the manifest.
    pub manifest: String,
    pub secrets: BTreeMap<String, Entry>,
    /// What happened to the units.
    pub units: Units,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub outcome: Outcome,
    /// Why it failed or is stale.
    pub reason: Option<String>,
    /// The number of values so far; `None` for a file without a seal.
    pub serial: Option<u64>,
    pub owner: String,
    pub group: String,
    /// Four octal digits.
    pub mode: String,
    pub path: String,
    /// SHA-256 of the sealed file.
    pub ciphertext: Option<String>,
    /// Digest of the value, keyed with a random key of this boot.
    pub value: Option<String>,
    /// Units restarted when the value changes.
    pub restart: Vec<String>,
    pub reload: Vec<String>,
}

/// The result for one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is new, or its bytes changed.
    Installed,
    /// Its bytes are unchanged.
    Unchanged,
    /// It could not be opened: the last good value of this boot remains.
    Stale,
    /// It could not be opened, and there is no earlier value.
    Failed,
}

/// What happened to the units of changed secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    pub restarted: Vec<String>,
    /// Reloaded, or restarted if they cannot reload.
    pub reloaded: Vec<String>,
    /// Why none was restarted or reloaded, although values changed.
    pub untouched: Option<String>,
}

/// The digest of a value under a key that lasts until the next boot. It includes the name, so that two secrets with the
/// same value have different digests.
pub fn value_digest(key: &[u8; 32], name: &str, value: &[u8]) -> String {
    // HMAC accepts keys of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(name.as_bytes());
    mac.update(&[0]);
    mac.update(value);
    hex(&mac.finalize().into_bytes())
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_link_is_ours() {
        assert_eq!(Tree::Ordinary.generation("sealift.d/12"), Some(12));
        assert_eq!(Tree::Users.generation("sealift-users.d/1"), Some(1));
        for foreign in [
            "/run/sealift.d/1",
            "sealift.d",
            "sealift.d/",
            "sealift.d/0",
            "sealift.d/01",
            "sealift.d/-1",
            "sealift.d/+1",
            "sealift.d/1/",
            "sealift.d/1/..",
            "sealift-users.d/1",
            "sealift.d/99999999999999999999",
            "agenix.d/1",
            "",
        ] {
            assert_eq!(Tree::Ordinary.generation(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_digest_depends_on_key_name_and_value() {
        let digest = value_digest(&[1; 32], "a", b"x");
        assert_eq!(digest.len(), 64);
        for other in
            [value_digest(&[2; 32], "a", b"x"), value_digest(&[1; 32], "b", b"x"), value_digest(&[1; 32], "a", b"y")]
        {
            assert_ne!(digest, other);
        }
    }
}
