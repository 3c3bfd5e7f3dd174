//! What was installed: the two trees, and the status that lies with each generation of secrets. It tells everything but
//! the values.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::policy::paths::{DELIVERED, DELIVERED_FOR_USERS};

/// The version of the status that this program writes and reads.
pub const VERSION: u32 = 1;
/// The name of a generation's status in its directory. No secret's name begins with a dot.
pub const STATUS: &str = ".status.json";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tree {
    /// `/run/sealift`: anybody who is let through to a file of his own.
    #[default]
    Ordinary,
    /// `/run/sealift-users`: what is needed to make the users, so root alone.
    Users,
}

impl Tree {
    /// The link to the live generation, as the host's programs know it.
    pub fn delivered(self) -> &'static str {
        match self {
            Tree::Ordinary => DELIVERED,
            Tree::Users => DELIVERED_FOR_USERS,
        }
    }

    /// The name of that link in `/run`.
    pub fn link(self) -> &'static str {
        match self {
            Tree::Ordinary => "sealift",
            Tree::Users => "sealift-users",
        }
    }

    /// The name in `/run` of the directory that holds the generations.
    pub fn place(self) -> &'static str {
        match self {
            Tree::Ordinary => "sealift.d",
            Tree::Users => "sealift-users.d",
        }
    }

    /// The permissions of its directories: to pass through without listing, or nothing for others.
    pub fn directory_mode(self) -> u32 {
        match self {
            Tree::Ordinary => 0o751,
            Tree::Users => 0o700,
        }
    }

    /// The generation that a target of the link names; none for a target that is not ours.
    pub fn generation(self, target: &str) -> Option<u64> {
        number(target.strip_prefix(self.place())?.strip_prefix('/')?)
    }
}

/// The number of a generation's directory, written the one way that it is made.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.bytes().all(|b| b.is_ascii_digit()) && !name.starts_with('0');
    digits.then(|| name.parse().ok()).flatten()
}

/// The status of one generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: u32,
    /// The host that the manifest is for.
    pub host: String,
    /// The number of this generation.
    pub generation: u64,
    /// The generation that was live before it.
    pub former: Option<u64>,
    /// When it was installed, in UTC.
    pub installed: String,
    /// SHA-256 of the manifest.
    pub manifest: String,
    pub secrets: BTreeMap<String, Entry>,
    /// What became of the units.
    pub units: Units,
}

/// The status of one secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub outcome: Outcome,
    /// Why it went no better.
    pub reason: Option<String>,
    /// Counts the values that it has had; none for a file without a seal.
    pub serial: Option<u64>,
    /// Who owns the delivered file.
    pub owner: String,
    pub group: String,
    /// Its permissions, four octal digits.
    pub mode: String,
    pub path: String,
    /// SHA-256 of the sealed file.
    pub ciphertext: Option<String>,
    /// The value, as a digest that means nothing without this boot's key.
    pub value: Option<String>,
    /// Units restarted when the value changes.
    pub restart: Vec<String>,
    pub reload: Vec<String>,
}

/// How it went with one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is new, or its bytes changed.
    Installed,
    /// The bytes are those that were there.
    Unchanged,
    /// It could not be opened: the last good bytes of this boot stay.
    Stale,
    /// It could not be opened, and there is nothing.
    Failed,
}

/// What became of the units of changed secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    pub restarted: Vec<String>,
    /// Reloaded, or restarted where they cannot reload.
    pub reloaded: Vec<String>,
    /// Why none was touched, although the values of some changed.
    pub untouched: Option<String>,
}

/// The digest of a value under a key that lasts until the next boot. The name is part of it, so that two secrets of one
/// value do not show that they are.
pub fn value_digest(key: &[u8; 32], name: &str, value: &[u8]) -> String {
    // HMAC takes keys of any length: there is no failure to pass on.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(name.as_bytes());
    mac.update(&[0]);
    mac.update(value);
    hex(&mac.finalize().into_bytes())
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
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
