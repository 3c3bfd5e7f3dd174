//! Rules that read a source as what it is, instead of as bytes. The engine hands every file of such a kind to them, whole.

use std::ops::Range;

use crate::domain::nix::{finding, rules};
use crate::domain::rule_info::About;

/// A finding of a source rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFinding {
    pub rule: &'static About,
    /// The line, from 1.
    pub line: usize,
    /// Where it is, in bytes of the text.
    pub span: Range<usize>,
    /// What it says of this very place.
    pub wording: Wording,
}

/// What a rule says of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    /// What is found, with the option's name.
    pub what: String,
    /// What to do, where `PLACE` stands for file and line: which file it is may not be known yet.
    pub help: String,
    /// The file that a path literal names, from the folder of the source.
    pub named: Option<String>,
}

/// What stands for the place of a finding until it is known. No path has such a byte.
pub const PLACE: &str = "\0";

/// What a source came to.
#[derive(Default)]
pub struct Source {
    pub found: Vec<SourceFinding>,
    /// Where texts stand in which values are written without quotes, in order.
    pub texts: Vec<Range<usize>>,
}

/// A rule for sources: the path (for its name alone), and the text. What it finds; or why it could not look.
pub type SourceRule = fn(&str, &str) -> Result<Source, String>;

/// The words without which no such rule finds anything, in either case: most files hold none of them, and are not read.
pub(super) const WORDS: [&str; 12] = rules::WORDS;

/// The rules for files that end in `.nix`.
const NIX: &[SourceRule] = &[nix];

/// What those rules say of themselves.
pub fn every() -> impl Iterator<Item = &'static About> {
    finding::NixRule::ALL.into_iter().map(finding::NixRule::about)
}

/// What Nix source gives away. What is no Nix at all is no source of it.
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

/// The path that a literal is, or the call that reads it ends with.
fn path_in(literal: &str) -> Option<String> {
    let last = literal.split_whitespace().last()?.trim_matches(['(', ')']);
    last.starts_with('.').then(|| last.to_owned())
}

/// The largest source that is held whole; larger ones are looked at as bytes alone.
pub const LARGEST: usize = 1 << 20;

/// The rules for a file of this name.
pub fn rules_for(path: &[u8]) -> &'static [SourceRule] {
    if path.ends_with(b".nix") { NIX } else { &[] }
}
