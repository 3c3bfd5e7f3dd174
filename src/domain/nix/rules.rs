//! Finds secrets in Nix source: values that Nix writes into its store, which everybody on the machine can read. A
//! finding has the position of a value, and never the value itself.

use std::ops::Range;

use rnix::NodeOrToken;
use rnix::SyntaxKind::TOKEN_STRING_CONTENT;

use crate::domain::nix::finding::NixFinding;
use crate::domain::nix::guard::Unread;
use crate::domain::nix::{syntax, walk};

/// Words of which one, in upper or lower case, is in every file with findings. A scan of many files only parses those.
pub const WORDS: [&str; 12] =
    ["token", "pass", "secret", "key", "psk", "credential", "id_", "readfile", "privat", "identity", "auth", "salt"];

/// Finds secrets in the text of a Nix file.
pub fn look(text: &str) -> Result<Vec<NixFinding>, Unread> {
    Ok(read(text)?.0)
}

/// The findings, and the ranges of string contents, in which `key=value` is written without quotes.
pub fn read(text: &str) -> Result<(Vec<NixFinding>, Vec<Range<usize>>), Unread> {
    let tree = syntax::tree(text)?;
    let tokens = tree.descendants_with_tokens().filter_map(NodeOrToken::into_token);
    let texts = tokens.filter(|token| token.kind() == TOKEN_STRING_CONTENT).map(|token| {
        let range = token.text_range();
        usize::from(range.start())..usize::from(range.end())
    });
    Ok((walk::walk(text, &tree), texts.collect()))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
