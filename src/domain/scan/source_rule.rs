//! Rules that parse source code instead of searching bytes. The engine passes them every file of their type as a whole.

use std::ops::Range;

use crate::domain::nix::{finding, rules};
use crate::domain::rule_info::About;

/// A finding of a source rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFinding {
    pub rule: &'static About,
    /// The line, from 1.
    pub line: usize,
    /// The byte range of the finding.
    pub span: Range<usize>,
    /// The texts for this place.
    pub wording: Wording,
}

/// The texts of a rule for one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    /// What was found, with the option's name.
    pub what: String,
    /// What to do, with `PLACE` for file and line: the file may not be known yet.
    pub help: String,
    /// The file that a path literal names, relative to the folder of the source.
    pub named: Option<String>,
}

/// Stands for the place of a finding until it is known. No path contains this byte.
pub const PLACE: &str = "\0";

/// The result for one source.
#[derive(Default)]
pub struct Source {
    pub found: Vec<SourceFinding>,
    /// The ranges of text in which values are written without quotes, in order.
    pub texts: Vec<Range<usize>>,
}

/// A rule for sources. Arguments: the path (only for its name), and the text. Fails with the reason if the text was not
/// parsed.
pub type SourceRule = fn(&str, &str) -> Result<Source, String>;

/// Every finding of these rules needs one of these words, in upper or lower case. Most files contain none, and are not
/// parsed.
pub(super) const WORDS: [&str; 12] = rules::WORDS;

/// The rules for `.nix` files.
const NIX: &[SourceRule] = &[nix];

/// The descriptions of those rules.
pub fn every() -> impl Iterator<Item = &'static About> {
    finding::NixRule::ALL.into_iter().map(finding::NixRule::about)
}

/// Secrets in Nix source. A file that is not valid Nix has none.
fn nix(_path: &str, text: &str) -> Result<Source, String> {
    let (found, texts) = match rules::read(text) {
        Err(unread) if unread.hides() => return Err(format!("not read as Nix: {unread}")),
        found => found.unwrap_or_default(),
    };
    let found = found.into_iter().map(|one| SourceFinding {
        rule: one.rule.about(),
        line: one.line,
        wording: Wording {
            what: one.what(),
            help: one.advice(PLACE),
            named: text.get(one.span.clone()).and_then(path_in),
        },
        span: one.span,
    });
    Ok(Source { found: found.collect(), texts })
}

/// The path in a literal, or at the end of the call that reads it.
fn path_in(literal: &str) -> Option<String> {
    let last = literal.split_whitespace().last()?.trim_matches(['(', ')']);
    last.starts_with('.').then(|| last.to_owned())
}

/// The largest source that is kept whole in memory; larger ones are only searched as bytes.
pub const LARGEST: usize = 1 << 20;

/// The rules for a file with this name.
pub fn rules_for(path: &[u8]) -> &'static [SourceRule] {
    if path.ends_with(b".nix") { NIX } else { &[] }
}
