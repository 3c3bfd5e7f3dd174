//! What is searched, as far as that decides how to search it, and what is found in it.

use std::ops::Range;

use crate::domain::rule_info::About;
use crate::domain::scan::source_rule::{SourceRule, Wording, rules_for};

/// The properties of a file that decide how to search it.
pub struct Subject<'a> {
    /// Whether unquoted values are usual in it.
    pub(super) bare: bool,
    /// Whether its name is not known yet, so that both ways must be tried.
    pub(super) nameless: bool,
    pub(super) sources: &'static [SourceRule],
    pub(super) path: &'a [u8],
}

/// Extensions of files in which values are always quoted: programs, pages, documents.
const QUOTED: [&[u8]; 44] = [
    b"nix", b"rs", b"js", b"mjs", b"cjs", b"ts", b"jsx", b"tsx", b"py", b"go", b"c", b"h", b"cc", b"cpp", b"hpp",
    b"java", b"kt", b"rb", b"php", b"hs", b"ml", b"el", b"lisp", b"clj", b"cs", b"swift", b"scala", b"lua", b"pl",
    b"ex", b"md", b"rst", b"adoc", b"html", b"css", b"scss", b"vue", b"svelte", b"json", b"lock", b"svg", b"patch",
    b"diff", b"vim",
];

impl<'a> Subject<'a> {
    /// A file with this name.
    pub fn named(path: &'a [u8]) -> Self {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let ending = name.iter().rposition(|byte| *byte == b'.').map(|dot| &name[dot + 1..]);
        Self {
            bare: !ending.is_some_and(|ending| QUOTED.contains(&ending)),
            sources: rules_for(path),
            nameless: false,
            path,
        }
    }

    /// A file whose name is not known yet.
    pub fn nameless() -> Self {
        Self { bare: true, nameless: true, sources: &[], path: b"" }
    }

    /// Whether a finding counts, now that the name is known.
    pub fn counts(&self, hit: &Hit) -> bool {
        self.bare || !hit.bare
    }
}

#[derive(Clone, Debug)]
pub struct Hit {
    pub rule: &'static About,
    /// The caller's number of the secret with this value.
    pub secret: Option<u32>,
    /// The byte range, from the beginning of the data.
    pub span: Range<u64>,
    /// The line, from 1.
    pub line: u64,
    /// The column in bytes, from 1.
    pub column: u64,
    /// Equal for findings of the same bytes. Never leaves the program.
    pub print: [u8; 16],
    /// Whether it only counts where unquoted values are usual.
    pub bare: bool,
    /// The rule's texts for this place.
    pub wording: Option<Box<Wording>>,
    /// If two rules find the same place, the lower rank wins.
    pub(super) rank: usize,
}
