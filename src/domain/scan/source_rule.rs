//! Rules that read a source as what it is, instead of as bytes. The engine hands every file of such a kind to them, whole.

use std::ops::Range;

use crate::domain::nix::{finding, rules};
use crate::domain::rule_info::About;

/// A finding of a source rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The rule.
    pub rule: &'static About,
    /// The line, from 1.
    pub line: usize,
    /// Where it is, in bytes of the text.
    pub span: Range<usize>,
}

/// A rule for sources: the path (for its name alone), and the text. What it finds; or why it could not look.
pub type SourceRule = fn(&str, &str) -> Result<Vec<Found>, String>;

/// The rules for files that end in `.nix`.
const NIX: &[SourceRule] = &[nix];

/// What those rules say of themselves.
pub fn every() -> impl Iterator<Item = &'static About> {
    finding::Rule::ALL.into_iter().map(finding::Rule::about)
}

/// What Nix source gives away. What is no Nix at all is no source of it.
fn nix(_path: &str, text: &str) -> Result<Vec<Found>, String> {
    let found = match rules::look(text) {
        Err(unread) if unread.hides() => return Err(format!("not read as Nix: {unread}")),
        found => found.unwrap_or_default(),
    };
    Ok(found.into_iter().map(|one| Found { rule: one.rule.about(), line: one.line, span: one.span }).collect())
}

/// The largest source that is held whole; larger ones are looked at as bytes alone.
pub const LARGEST: usize = 1 << 20;

/// The rules for a file of this name.
pub fn rules_for(path: &[u8]) -> &'static [SourceRule] {
    if path.ends_with(b".nix") { NIX } else { &[] }
}
