//! A rule for bytes: its start literals, and how the rest is checked.

use std::ops::Range;

use crate::domain::rule_info::About;
use crate::domain::scan::charset::{Alphabet, Around, begins, exactly};
use crate::domain::scan::entropy::stand_in;

pub struct Rule {
    /// The description of the rule.
    pub about: About,
    /// Its start literals; every finding begins at one of these.
    pub(in crate::domain::scan) starts: &'static [&'static str],
    /// Whether the literals are compared without regard to case.
    pub(in crate::domain::scan) fold: bool,
    pub(in crate::domain::scan) find: Find,
    /// Forms of texts in which it must find something.
    #[cfg_attr(not(any(test, feature = "internals")), expect(dead_code, reason = "examples, which tests try"))]
    pub yes: [&'static str; 2],
    /// Forms of texts in which it must find nothing.
    #[cfg_attr(not(any(test, feature = "internals")), expect(dead_code, reason = "examples, which tests try"))]
    pub no: [&'static str; 2],
}

/// How to check the rest after a start literal.
pub(in crate::domain::scan) enum Find {
    /// A run of an alphabet follows, with a length in this range.
    Token(Alphabet, usize, usize),
    By(Search),
}

/// Arguments: the text, the position of the start literal, and its length. Must look at no more than `charset::REACH`
/// bytes around it.
pub(in crate::domain::scan) type Search = fn(Around<'_>, usize, usize) -> Option<Range<usize>>;

impl Rule {
    /// The length of the longest start literal at a position.
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

    /// The range of the secret, if there is a finding for a start literal of `start` bytes at `at`.
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
