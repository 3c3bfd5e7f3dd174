//! What Nix source gives away: secrets written where Nix puts them into its store, which everybody on the machine can
//! read. Text in, findings out; a finding says where a value stands and never holds it.

use std::ops::Range;

use rnix::NodeOrToken;
use rnix::SyntaxKind::TOKEN_STRING_CONTENT;

use crate::domain::nix::finding::NixFinding;
use crate::domain::nix::guard::Unread;
use crate::domain::nix::{syntax, walk};

/// Words without which no rule can find anything, in either case. What looks at many files reads those that have one.
pub const WORDS: [&str; 12] =
    ["token", "pass", "secret", "key", "psk", "credential", "id_", "readfile", "privat", "identity", "auth", "salt"];

/// Looks into the text of a Nix file.
pub fn look(text: &str) -> Result<Vec<NixFinding>, Unread> {
    Ok(read(text)?.0)
}

/// What is found, and where the text of its strings stands: there `key=value` is written without quotes.
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
