//! The prefilter that every byte goes through: one automaton for the literals of all rules, the crate aho-corasick's, tells
//! which places could be the start of something. All else is done only there.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input};

/// A literal that a rule begins with.
#[derive(Clone, Copy, Debug)]
pub(in crate::domain) struct Literal {
    /// Its bytes, in small letters where `fold`.
    pub(in crate::domain) text: &'static str,
    /// Whether capital letters count as small ones.
    pub(in crate::domain) fold: bool,
    /// What it belongs to; the caller's own number.
    pub(in crate::domain) of: u16,
}

/// The literals, ready to be looked for.
pub(in crate::domain) struct Prefilter {
    literals: Vec<Literal>,
    longest: usize,
    /// None only for more literals than an automaton can have; a test builds that of all rules.
    automaton: Option<AhoCorasick>,
}

impl Prefilter {
    pub(in crate::domain) fn new(literals: Vec<Literal>) -> Self {
        let texts = literals.iter().map(|literal| literal.text);
        let longest = texts.clone().map(str::len).max().unwrap_or(0);
        // The crate folds all literals or none: those that are exact are compared once more.
        let mut builder = AhoCorasick::builder();
        let automaton = builder.kind(Some(AhoCorasickKind::DFA)).ascii_case_insensitive(true).build(texts).ok();
        Self { literals, longest, automaton }
    }

    /// Tells each literal that begins in `from..to`, with what it belongs to and where; each once.
    pub(in crate::domain) fn each(&self, text: &[u8], from: usize, to: usize, mut found: impl FnMut(u16, usize)) {
        // The last one may end behind `to`.
        let region = text.get(from..text.len().min(to.saturating_add(self.longest))).unwrap_or_default();
        let matches = self.automaton.as_ref().and_then(|all| all.try_find_overlapping_iter(Input::new(region)).ok());
        for one in matches.into_iter().flatten() {
            let at = from + one.start();
            let same = |literal: &&Literal| literal.fold || region.get(one.range()) == Some(literal.text.as_bytes());
            if let Some(literal) = self.literals.get(one.pattern().as_usize()).filter(same).filter(|_| at < to) {
                found(literal.of, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefilter() -> Prefilter {
        let literal =
            |(of, (text, fold)): (usize, (&'static str, bool))| Literal { text, fold, of: u16::try_from(of).unwrap() };
        Prefilter::new(
            [("ghp_", false), ("token", true), ("cio", false), ("$6$", false)]
                .into_iter()
                .enumerate()
                .map(literal)
                .collect(),
        )
    }

    fn slowly(text: &[u8], from: usize, to: usize) -> Vec<(u16, usize)> {
        let mut all = Vec::new();
        for start in from..to.min(text.len()) {
            for (of, (word, fold)) in
                [("ghp_", false), ("token", true), ("cio", false), ("$6$", false)].iter().enumerate()
            {
                let Some(there) = text.get(start..start + word.len()) else { continue };
                let same = if *fold { there.eq_ignore_ascii_case(word.as_bytes()) } else { there == word.as_bytes() };
                if same {
                    all.push((u16::try_from(of).unwrap(), start));
                }
            }
        }
        all
    }

    proptest::proptest! {
        #[test]
        fn finds_what_a_slow_look_finds(text in "([a-z =]|ghp_|TOKEN|token|CIO|cio|\\$6\\$){0,60}", from in 0usize..40, length in 0usize..200) {
            let (text, to) = (text.as_bytes(), from + length);
            let mut found = Vec::new();
            prefilter().each(text, from, to, |of, at| found.push((of, at)));
            found.sort_by_key(|(of, at)| (*at, *of));
            proptest::prop_assert_eq!(found, slowly(text, from, to));
        }
    }
}
