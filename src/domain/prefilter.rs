//! The prefilter that every byte goes through: one automaton for the literals of all rules, the crate aho-corasick's, tells
//! which places could be the start of something. All else is done only there.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use aho_corasick::Anchored;
use aho_corasick::automaton::Automaton;
use aho_corasick::dfa::DFA;

/// A literal that a rule begins with.
#[derive(Clone, Copy, Debug)]
pub(in crate::domain) struct Literal {
    /// Its bytes.
    pub(in crate::domain) text: &'static str,
    /// Whether capital letters count as small ones.
    pub(in crate::domain) fold: bool,
    /// What it belongs to; the caller's own number.
    pub(in crate::domain) of: u16,
}

/// How many places are followed at once: a step has to wait for the one before it, and not for those at other places.
const LANES: usize = 4;
/// How many steps are made before it is asked whether a literal was met.
const STEPS: usize = 8;
/// How much of a literal the automaton knows, so that it fits a near cache. The rest is compared.
const KNOWN: usize = 6;
/// How many kinds of bytes are distinguished.
const KINDS: usize = 64;
/// The first state in which a literal ends, so that one bit tells of it.
const END: u16 = 1 << 15;

impl Literal {
    fn is_at(&self, text: &[u8], at: usize) -> bool {
        let there = text.get(at..at + self.text.len());
        let word = self.text.as_bytes();
        there.is_some_and(|there| if self.fold { there.eq_ignore_ascii_case(word) } else { there == word })
    }
}

/// The literals, ready to be looked for.
pub(in crate::domain) struct Prefilter {
    literals: Vec<Literal>,
    /// None only for more literals than it has room for; a test builds that of all rules.
    table: Option<Table>,
}

/// The crate's automaton, laid out for speed.
struct Table {
    /// What a byte counts as: capital letters as small ones, and all bytes of no literal as one.
    kinds: [u8; 256],
    /// A row a state: which state follows on each kind of byte. A state is the place where its row begins.
    rows: Box<[u16; 1 << 16]>,
    start: u16,
    /// The literals that end in each state from `END` on.
    ends: Vec<Vec<usize>>,
}

impl Table {
    fn new(literals: &[Literal]) -> Option<Self> {
        let known =
            |literal: &Literal| literal.text.bytes().take(KNOWN).map(|byte| byte.to_ascii_lowercase()).collect();
        let known: Vec<Vec<u8>> = literals.iter().map(known).collect();
        let automaton = DFA::builder().prefilter(false).build(&known).ok()?;
        let first = automaton.start_state(Anchored::No).ok()?;
        let follows = |state, byte| automaton.next_state(Anchored::No, state, byte);
        // Each state stands for the beginning of a literal.
        let mut states = vec![first];
        for text in &known {
            states.extend(text.iter().scan(first, |state, byte| {
                *state = follows(*state, *byte);
                Some(*state)
            }));
        }
        states.sort_unstable();
        states.dedup();
        let (ending, others): (Vec<_>, Vec<_>) = states.into_iter().partition(|state| automaton.is_match(*state));
        // Zero stands for the bytes of no literal.
        let bytes: BTreeSet<u8> = known.concat().into_iter().chain([0]).collect();
        if bytes.len() > KINDS {
            return None;
        }
        let places = (0..END).step_by(KINDS).zip(&others).chain((END..=u16::MAX).step_by(KINDS).zip(&ending));
        let place_of: HashMap<_, u16> = places.clone().map(|(place, state)| (*state, place)).collect();
        let mut rows: Box<[u16; 1 << 16]> = vec![0; 1 << 16].into_boxed_slice().try_into().ok()?;
        for (place, state) in places {
            for (cell, byte) in rows[usize::from(place)..].iter_mut().zip(&bytes) {
                *cell = *place_of.get(&follows(*state, *byte))?;
            }
        }
        let mut kinds = [0; 256];
        for (kind, byte) in (0..).zip(&bytes) {
            kinds[usize::from(*byte)] = kind;
            kinds[usize::from(byte.to_ascii_uppercase())] = kind;
        }
        let ends = ending.iter().map(|state| {
            (0..automaton.match_len(*state)).map(|one| automaton.match_pattern(*state, one).as_usize()).collect()
        });
        Some(Self { kinds, rows, start: *place_of.get(&first)?, ends: ends.collect() })
    }

    #[inline]
    fn follows(&self, state: u16, byte: u8) -> u16 {
        self.rows[usize::from(state | u16::from(self.kinds[usize::from(byte)]))]
    }

    /// The literals that end in a state.
    #[inline]
    fn ends(&self, state: u16) -> &[usize] {
        let ending = state.checked_sub(END).and_then(|place| self.ends.get(usize::from(place) / KINDS));
        ending.map_or(&[], Vec::as_slice)
    }
}

impl Prefilter {
    pub(in crate::domain) fn new(literals: Vec<Literal>) -> Self {
        let table = Table::new(&literals);
        Self { literals, table }
    }

    /// Tells each literal that begins in `from..to`, with what it belongs to and where; each once, in no order.
    pub(in crate::domain) fn each(&self, text: &[u8], from: usize, to: usize, mut found: impl FnMut(u16, usize)) {
        let Some(table) = &self.table else { return };
        let to = to.min(text.len());
        let mut tell = |mut state, range: Range<usize>, limit: usize| {
            for at in range {
                state = table.follows(state, text[at]);
                for literal in table.ends(state).iter().filter_map(|number| self.literals.get(*number)) {
                    let start = at + 1 - literal.text.len().min(KNOWN);
                    if start < limit && literal.is_at(text, start) {
                        found(literal.of, start);
                    }
                }
            }
        };
        let share = to.saturating_sub(from) / LANES / STEPS * STEPS;
        let begins: [usize; LANES] = std::array::from_fn(|lane| from + lane * share);
        let [one, two, three, four] =
            begins.map(|begin| text.get(begin..begin + share).unwrap_or_default().as_chunks::<STEPS>().0);
        let mut states = [table.start; LANES];
        for (number, (((one, two), three), four)) in one.iter().zip(two).zip(three).zip(four).enumerate() {
            let before = states;
            let mut met = 0;
            for step in 0..STEPS {
                let [a, b, c, d] = states;
                let bytes = [one[step], two[step], three[step], four[step]];
                states = [
                    table.follows(a, bytes[0]),
                    table.follows(b, bytes[1]),
                    table.follows(c, bytes[2]),
                    table.follows(d, bytes[3]),
                ];
                met |= states[0] | states[1] | states[2] | states[3];
            }
            if met >= END {
                for (state, begin) in before.into_iter().zip(begins) {
                    let at = begin + number * STEPS;
                    tell(state, at..at + STEPS, to);
                }
            }
        }
        // What begins in a share may end behind it.
        for (lane, (state, begin)) in states.into_iter().zip(begins).enumerate() {
            let limit = if lane + 1 < LANES { begin + share } else { to };
            tell(state, begin + share..text.len().min(limit + KNOWN), limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of them is longer than what the automaton knows of it.
    const LITERALS: [(&str, bool); 5] =
        [("ghp_", false), ("token", true), ("cio", false), ("$6$", false), ("a-long-one", true)];

    fn prefilter() -> Prefilter {
        let literal =
            |(of, (text, fold)): (usize, (&'static str, bool))| Literal { text, fold, of: u16::try_from(of).unwrap() };
        Prefilter::new(LITERALS.into_iter().enumerate().map(literal).collect())
    }

    fn slowly(text: &[u8], from: usize, to: usize) -> Vec<(u16, usize)> {
        let mut all = Vec::new();
        for start in from..to.min(text.len()) {
            for (of, (word, fold)) in LITERALS.iter().enumerate() {
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
        fn finds_what_a_slow_look_finds(text in "([a-z =]|ghp_|TOKEN|token|CIO|cio|\\$6\\$|a-long-one|A-LONG-ON){0,120}", from in 0usize..40, length in 0usize..200) {
            let (text, to) = (text.as_bytes(), from + length);
            let mut found = Vec::new();
            prefilter().each(text, from, to, |of, at| found.push((of, at)));
            found.sort_by_key(|(of, at)| (*at, *of));
            proptest::prop_assert_eq!(found, slowly(text, from, to));
        }
    }
}
