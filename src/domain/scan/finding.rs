//! What is reported: the rule, the place, and what to do. Never the secret itself.

use std::fmt::Write;

use serde::Serialize;

use crate::domain::rule_info::{About, Weight};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "in", rename_all = "lowercase")]
pub enum Place {
    /// A file in the work tree.
    Tree,
    /// The git index.
    Index,
    /// The git history.
    History {
        /// A commit that added it.
        commit: String,
    },
    /// A path in the Nix store.
    Store,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub weight: Weight,
    pub rule: &'static str,
    /// The file. Bytes that are not UTF-8 are written as `\xNN`; a secret in the file name itself is left out.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
    /// The column in bytes, from 1.
    pub column: u64,
    /// The length in bytes.
    pub length: u64,
    /// The member of an archive or compressed file, or another part inside the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    #[serde(flatten)]
    pub place: Place,
    pub what: String,
    /// The secret of the fleet with this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    pub why: &'static str,
    /// What to do about it.
    #[serde(rename = "mend")]
    pub help: String,
}

impl Finding {
    /// What was found, as its rule describes it.
    pub fn told(about: &'static About, secret: Option<&str>) -> String {
        secret.map_or_else(|| about.what.to_owned(), |secret| format!("the value of {secret}"))
    }
}

/// A path as a string, whatever its bytes.
pub fn shown(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _written = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_path_of_any_bytes_is_text() {
        assert_eq!(super::shown(b"a/\xff\xc3\xa9\n"), "a/\\xff\u{e9}\n");
    }
}
