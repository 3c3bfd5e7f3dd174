//! A rule for bytes: what it begins with, and how the rest is looked at.

use std::ops::Range;

use crate::domain::rule_info::About;
use crate::domain::scan::charset::{Alphabet, Around, begins, exactly};
use crate::domain::scan::entropy::stand_in;

pub struct Rule {
    /// What it says of itself.
    pub about: About,
    /// What it begins with; one of these is there, or there is no finding.
    pub(in crate::domain::scan) starts: &'static [&'static str],
    /// Whether capital letters in those count as small ones.
    pub(in crate::domain::scan) fold: bool,
    pub(in crate::domain::scan) find: Find,
    /// Forms of texts that it must find.
    #[cfg_attr(not(any(test, feature = "internals")), expect(dead_code, reason = "examples, which tests try"))]
    pub yes: [&'static str; 2],
    /// Forms of texts that it must not find.
    #[cfg_attr(not(any(test, feature = "internals")), expect(dead_code, reason = "examples, which tests try"))]
    pub no: [&'static str; 2],
}

/// How the rest is looked at once a start is there.
pub(in crate::domain::scan) enum Find {
    /// So many bytes of an alphabet follow, and no more.
    Token(Alphabet, usize, usize),
    By(Search),
}

/// Asks: the text, where the start is, how long it is. Must look at no more than `charset::REACH` bytes around it.
pub(in crate::domain::scan) type Search = fn(Around<'_>, usize, usize) -> Option<Range<usize>>;

impl Rule {
    /// How long the longest of its starts is that is at a place.
    pub(in crate::domain::scan) fn longest(&self, text: &[u8], at: usize) -> Option<usize> {
        let begins = |start: &&&str| {
            let there = text.get(at..at + start.len());
            let same = |there: &[u8]| {
                if self.fold { there.eq_ignore_ascii_case(start.as_bytes()) } else { there == start.as_bytes() }
            };
            there.is_some_and(same)
        };
        self.starts.iter().filter(begins).map(|start| start.len()).max()
    }

    /// The finding at a place where `start` bytes of one of its starts are: where the secret is in the text.
    pub(in crate::domain::scan) fn at(&self, around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
        match &self.find {
            Find::Token(alphabet, least, most) => {
                let text = around.bytes;
                let secret = begins(text, at).then(|| exactly(text, at + start, *alphabet, &(*least..=*most)))??;
                (!stand_in(&text[secret.clone()])).then_some(at..secret.end)
            }
            Find::By(find) => find(around, at, start),
        }
    }
}
