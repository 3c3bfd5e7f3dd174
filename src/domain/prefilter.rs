//! The prefilter that every byte goes through: one automaton for the literals of all rules, the crate aho-corasick's, tells
//! which places could be the start of something. All else is done only there.

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;

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
    /// Of small letters, with its start. None only for more literals than an automaton can have; a test builds that of all
    /// rules.
    automaton: Option<(DFA, StateID)>,
}

impl Prefilter {
    pub(in crate::domain) fn new(literals: Vec<Literal>) -> Self {
        let longest = literals.iter().map(|literal| literal.text.len()).max().unwrap_or(0);
        let automaton = DFA::new(literals.iter().map(|literal| literal.text.to_ascii_lowercase())).ok();
        let automaton = automaton.and_then(|all| all.start_state(Anchored::No).ok().map(|start| (all, start)));
        Self { literals, longest, automaton }
    }

    /// Tells each literal that begins in `from..to`, with what it belongs to and where; each once, in no order.
    pub(in crate::domain) fn each(&self, text: &[u8], from: usize, to: usize, mut found: impl FnMut(u16, usize)) {
        let Some((automaton, start)) = &self.automaton else { return };
        // The last one may end behind `to`.
        let region = text.get(from..text.len().min(to.saturating_add(self.longest))).unwrap_or_default();
        let step = |state, byte: &u8| automaton.next_state(Anchored::No, state, byte.to_ascii_lowercase());
        let mut tell = |state, end: usize, limit: usize| {
            let ended = if automaton.is_match(state) { automaton.match_len(state) } else { 0 };
            for literal in
                (0..ended).filter_map(|one| self.literals.get(automaton.match_pattern(state, one).as_usize()))
            {
                let at = end - literal.text.len();
                if at < limit && (literal.fold || text.get(at..end) == Some(literal.text.as_bytes())) {
                    found(literal.of, at);
                }
            }
        };
        // Both halves at once: a step has to wait for the one before it, and not for those of the other half.
        let (first, second) = region.split_at(region.len() / 2);
        let middle = from + first.len();
        let (mut one, mut other) = (*start, *start);
        for ((at, byte), opposite) in first.iter().enumerate().zip(second) {
            (one, other) = (step(one, byte), step(other, opposite));
            if automaton.is_special(one) || automaton.is_special(other) {
                tell(one, from + at + 1, to);
                tell(other, middle + at + 1, to);
            }
        }
        for (at, byte) in second.iter().enumerate().skip(first.len()) {
            other = step(other, byte);
            tell(other, middle + at + 1, to);
        }
        // What begins in the first half and ends in the second.
        for (at, byte) in second.iter().enumerate().take(self.longest) {
            one = step(one, byte);
            tell(one, middle + at + 1, to.min(middle));
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
