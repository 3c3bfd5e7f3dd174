//! The prefilter that every byte goes through: which places could be the start of a literal. Bytes are looked at eight at a
//! time and looked up in a table that stays in the nearest cache; all else is done only where something is there. Regular
//! expressions and automata for a hundred literals cost several times as much for the same answer.

use std::ops::Range;

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

/// Where three bytes are in a literal.
struct Entry {
    bytes: u32,
    literal: u16,
    at: u8,
    next: u16,
}

const MASK: u64 = 0x00ff_ffff;
/// Folds capital letters onto small ones; other bytes move too, but alike in text and literals.
const FOLD: u64 = 0x2020_2020_2020_2020;
const NONE: u16 = u16::MAX;

/// The literals, ready to be looked for.
pub(in crate::domain) struct Prefilter {
    literals: Vec<Literal>,
    bits: Box<[u32; 2048]>,
    first: Vec<u16>,
    entries: Vec<Entry>,
}

/// The bytes at every second place of a word, folded. Only the lowest three of each count.
#[inline]
fn grams(word: u64, next: u64) -> [u64; 4] {
    let (word, next) = (word | FOLD, next | FOLD);
    [word, word >> 16, word >> 32, word >> 48 | next << 16]
}

#[inline]
fn place(bytes: u64) -> usize {
    let bytes = (bytes & MASK) as u32;
    (bytes.wrapping_mul(0x9E37_79B1) >> 16) as usize
}

impl Prefilter {
    /// Literals of three bytes and more.
    pub(in crate::domain) fn new(literals: Vec<Literal>) -> Self {
        let mut prefilter = Self { literals, bits: Box::new([0; 2048]), first: vec![NONE; 65536], entries: Vec::new() };
        for number in 0..prefilter.literals.len() {
            let text = prefilter.literals[number].text.as_bytes();
            // Every second place of a text is looked at, so that two neighbouring places of a literal are needed.
            if let [a, b, c, d, ..] = *text {
                prefilter.enter(number, 0, [a, b, c]);
                prefilter.enter(number, 1, [b, c, d]);
            } else if let [a, b, c] = *text {
                prefilter.enter(number, 0, [a, b, c]);
                // The byte after it may be any; each stands for its capital letter too.
                for d in (0..=u8::MAX).filter(|d| d & 0x20 != 0) {
                    prefilter.enter(number, 1, [b, c, d]);
                }
            }
        }
        prefilter
    }

    fn enter(&mut self, literal: usize, at: u8, bytes: [u8; 3]) {
        let bytes = bytes.map(|byte| u64::from(byte | 0x20));
        let bytes = bytes[0] | bytes[1] << 8 | bytes[2] << 16;
        let place = place(bytes);
        self.bits[place >> 5] |= 1 << (place & 31);
        let (Ok(literal), Ok(number)) = (u16::try_from(literal), u16::try_from(self.entries.len())) else { return };
        #[expect(clippy::cast_possible_truncation, reason = "24 bits")]
        self.entries.push(Entry { bytes: bytes as u32, literal, at, next: self.first[place] });
        self.first[place] = number;
    }

    #[inline]
    fn might(&self, bytes: u64) -> bool {
        let place = place(bytes);
        self.bits[(place >> 5) & 2047] >> (place & 31) & 1 == 1
    }

    /// Whether a literal may be at one of four places: in these eight bytes, the next of which follow.
    #[inline]
    fn might_any(&self, word: u64, next: u64) -> bool {
        let [a, b, c, d] = grams(word, next);
        self.might(a) | self.might(b) | self.might(c) | self.might(d)
    }

    /// Tells each literal that begins in `from..to`, with what it belongs to and where; each once.
    pub(in crate::domain) fn each(&self, text: &[u8], from: usize, to: usize, mut found: impl FnMut(u16, usize)) {
        let to = to.min(text.len());
        // The last literal's second place may be one behind `to`.
        let end = (to + 2).min(text.len());
        let Some(region) = text.get(from..end) else { return };
        let (chunks, _) = region.as_chunks::<8>();
        let mut words = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk));
        let mut base = from;
        if let Some(mut word) = words.next() {
            for next in words {
                if self.might_any(word, next) {
                    self.look(word, next, text, base, from..to, &mut found);
                }
                word = next;
                base += 8;
            }
        }
        // What is left is less than two words. What is missing is zero, and compared with nothing.
        while base < end {
            let rest = text.get(base..).unwrap_or_default();
            let word = |rest: &[u8]| rest.iter().take(8).rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            self.look(word(rest), word(rest.get(8..).unwrap_or_default()), text, base, from..to, &mut found);
            base += 8;
        }
    }

    #[cold]
    #[inline(never)]
    fn look(
        &self,
        word: u64,
        next: u64,
        text: &[u8],
        base: usize,
        range: Range<usize>,
        found: &mut impl FnMut(u16, usize),
    ) {
        for (bytes, at) in grams(word, next).into_iter().zip([0, 2, 4, 6]) {
            if self.might(bytes) {
                self.sift(bytes, text, base + at, range.start, range.end, found);
            }
        }
    }

    fn sift(&self, bytes: u64, text: &[u8], at: usize, from: usize, to: usize, found: &mut impl FnMut(u16, usize)) {
        let mut next = self.first[place(bytes) & 65535];
        while let Some(entry) = self.entries.get(usize::from(next)) {
            next = entry.next;
            if u64::from(entry.bytes) != bytes & MASK {
                continue;
            }
            let Some(start) = at.checked_sub(usize::from(entry.at)).filter(|start| (from..to).contains(start)) else {
                continue;
            };
            let literal = self.literals[usize::from(entry.literal)];
            let there = text.get(start..start + literal.text.len());
            let same = there.is_some_and(|there| {
                if literal.fold {
                    there.eq_ignore_ascii_case(literal.text.as_bytes())
                } else {
                    there == literal.text.as_bytes()
                }
            });
            if same {
                found(literal.of, start);
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
