//! What is looked at, as far as that decides how; and what is found in it.

use std::ops::Range;

use crate::domain::rule_info::About;
use crate::domain::scan::source_rule::{SourceRule, Wording, rules_for};

/// What is looked at, as far as it decides how.
pub struct Subject<'a> {
    /// Whether values without quotes are usual in it.
    pub(super) bare: bool,
    /// Whether its name is not known yet, so that both must be tried.
    pub(super) nameless: bool,
    pub(super) sources: &'static [SourceRule],
    pub(super) path: &'a [u8],
}

/// Endings of files in which a value always has quotes: programs, pages, documents.
const QUOTED: [&[u8]; 44] = [
    b"nix", b"rs", b"js", b"mjs", b"cjs", b"ts", b"jsx", b"tsx", b"py", b"go", b"c", b"h", b"cc", b"cpp", b"hpp",
    b"java", b"kt", b"rb", b"php", b"hs", b"ml", b"el", b"lisp", b"clj", b"cs", b"swift", b"scala", b"lua", b"pl",
    b"ex", b"md", b"rst", b"adoc", b"html", b"css", b"scss", b"vue", b"svelte", b"json", b"lock", b"svg", b"patch",
    b"diff", b"vim",
];

impl<'a> Subject<'a> {
    /// A file of this name.
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
    /// Whose value it is, by the caller's own number.
    pub secret: Option<u32>,
    /// Where, in bytes from the beginning.
    pub span: Range<u64>,
    /// The line, from 1.
    pub line: u64,
    /// The column in bytes, from 1.
    pub column: u64,
    /// Tells whether two findings are of the same bytes. Never leaves the program.
    pub print: [u8; 16],
    /// Whether it counts only where values without quotes are usual.
    pub bare: bool,
    /// What its rule says of this very place.
    pub wording: Option<Box<Wording>>,
    /// Which rule wins where two find the same place: the lower.
    pub(super) rank: usize,
}
