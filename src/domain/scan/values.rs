//! The fleet's own values, looked for exactly and all at once. Of each text that is looked for, five bytes at four
//! neighbouring places are in a table; of the text that is searched, every fourth place is looked up there. So one look-up
//! serves four bytes, however many values there are, and what is found is compared byte by byte: no false positive. An
//! automaton over some thousand texts takes several times as long, and as many times the memory that holds copies of values.

use std::collections::HashMap;

use zeroize::Zeroizing;

use crate::domain::scan::variants::{SHORTEST, units, written};
use crate::domain::secret::plaintext::Plaintext;

const GRAM: u64 = 0xff_ffff_ffff;
const NONE: u32 = u32::MAX;
/// How many places of a text are tried for the rarest bytes.
const TRIED: usize = 24;

/// What is looked for, gathered.
#[derive(Default)]
pub struct Gathered {
    texts: Vec<(u32, Zeroizing<Vec<u8>>)>,
}

impl Gathered {
    /// Adds a value. False where it is too short to be looked for.
    pub fn add(&mut self, secret: u32, value: &Plaintext) -> bool {
        value.expose(|bytes| {
            let units = units(bytes);
            for unit in &units {
                self.texts.extend(written(unit).into_iter().map(|form| (secret, form)));
            }
            !units.is_empty()
        })
    }

    /// One text for one secret once; where two secrets have it, for the first.
    pub(super) fn distinct(self) -> Vec<(u32, Zeroizing<Vec<u8>>)> {
        let mut texts = self.texts;
        texts.sort_by(|(a, left), (b, right)| left.as_slice().cmp(right.as_slice()).then(a.cmp(b)));
        texts.dedup_by(|(_, later), (_, first)| later == first);
        texts
    }
}

struct Pattern {
    start: u32,
    length: u16,
    secret: u32,
}

struct Entry {
    gram: u64,
    pattern: u32,
    at: u16,
    next: u32,
}

/// What is looked for, ready.
pub struct Values {
    /// All texts, one behind the other.
    arena: Zeroizing<Vec<u8>>,
    patterns: Vec<Pattern>,
    bits: Vec<u64>,
    first: Vec<u32>,
    shift: u32,
    entries: Vec<Entry>,
    longest: usize,
}

#[inline]
fn mixed(gram: u64) -> u64 {
    (gram & GRAM).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Values {
    pub fn new(gathered: Gathered) -> Self {
        let texts = gathered.distinct();
        let size = (texts.len() * 4 * 48).next_power_of_two().clamp(1 << 12, 1 << 24);
        let shift = 64 - size.trailing_zeros();
        let mut values = Self {
            arena: Zeroizing::new(Vec::with_capacity(texts.iter().map(|(_, text)| text.len()).sum())),
            patterns: Vec::with_capacity(texts.len()),
            bits: vec![0; size / 64],
            first: vec![NONE; (size / 16).max(1)],
            shift,
            entries: Vec::with_capacity(texts.len() * 4),
            longest: texts.iter().map(|(_, text)| text.len()).max().unwrap_or(0),
        };
        let mut used: HashMap<u64, u32> = HashMap::new();
        for (secret, text) in texts {
            let (Ok(start), Ok(length), Ok(number)) =
                (u32::try_from(values.arena.len()), u16::try_from(text.len()), u32::try_from(values.patterns.len()))
            else {
                continue;
            };
            let grams = |place: usize| (0..4).map(move |k| place + k);
            let gram = |at: usize| text[at..at + 5].iter().rev().fold(0u64, |gram, byte| gram << 8 | u64::from(*byte));
            // Where the bytes are rarest among all texts: those that begin alike are distinguished by another part.
            let last = text.len() - SHORTEST;
            let step = (last / TRIED).max(1);
            let worn =
                |place: &usize| grams(*place).map(|at| used.get(&gram(at)).copied().unwrap_or(0)).max().unwrap_or(0);
            let place = (0..=last).step_by(step).min_by_key(worn).unwrap_or(0);
            for at in grams(place) {
                let bytes = gram(at);
                *used.entry(bytes).or_default() += 1;
                let mixed = mixed(bytes) >> values.shift;
                values.bits[usize::try_from(mixed / 64).unwrap_or(0)] |= 1 << (mixed % 64);
                let slot = usize::try_from(mixed / 16).unwrap_or(0);
                let (Ok(entry), Ok(at)) = (u32::try_from(values.entries.len()), u16::try_from(at)) else { continue };
                values.entries.push(Entry { gram: bytes, pattern: number, at, next: values.first[slot] });
                values.first[slot] = entry;
            }
            values.arena.extend_from_slice(&text);
            values.patterns.push(Pattern { start, length, secret });
        }
        values
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    #[inline]
    fn might(&self, gram: u64) -> bool {
        let place = mixed(gram) >> self.shift;
        self.bits.get(usize::try_from(place / 64).unwrap_or(0)).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// Tells each text that begins in `from..to`: whose it is, where, how long.
    pub fn each(&self, text: &[u8], from: usize, to: usize, mut found: impl FnMut(u32, usize, usize)) {
        // A text's rarest bytes may be anywhere in it.
        let end = text.len().min(to.saturating_add(self.longest));
        let Some(region) = text.get(from..end) else { return };
        let (chunks, rest) = region.as_chunks::<8>();
        let Some(first) = chunks.first() else { return self.slowly(text, from, end, from, to, &mut found) };
        let mut word = u64::from_le_bytes(*first);
        let mut base = from;
        for next in &chunks[1..] {
            let next = u64::from_le_bytes(*next);
            let over = word >> 32 | next << 32;
            if self.might(word) | self.might(over) {
                for (gram, at) in [(word, base), (over, base + 4)] {
                    if self.might(gram) {
                        self.compare(gram, text, at, from, to, &mut found);
                    }
                }
            }
            word = next;
            base += 8;
        }
        let tail = end - rest.len() - 8;
        self.slowly(text, tail, end, from, to, &mut found);
    }

    fn slowly(
        &self,
        text: &[u8],
        mut at: usize,
        end: usize,
        from: usize,
        to: usize,
        found: &mut impl FnMut(u32, usize, usize),
    ) {
        while at < end {
            if let Some(bytes) = text.get(at..at + 5) {
                let gram = bytes.iter().rev().fold(0u64, |gram, byte| gram << 8 | u64::from(*byte));
                if self.might(gram) {
                    self.compare(gram, text, at, from, to, found);
                }
            }
            at += 4;
        }
    }

    fn compare(
        &self,
        gram: u64,
        text: &[u8],
        at: usize,
        from: usize,
        to: usize,
        found: &mut impl FnMut(u32, usize, usize),
    ) {
        let slot = (mixed(gram) >> self.shift) / 16;
        let mut next = self.first.get(usize::try_from(slot).unwrap_or(0)).copied().unwrap_or(NONE);
        while let Some(entry) = self.entries.get(next as usize) {
            next = entry.next;
            if entry.gram != gram & GRAM {
                continue;
            }
            let Some(pattern) = self.patterns.get(entry.pattern as usize) else { continue };
            let Some(start) = at.checked_sub(usize::from(entry.at)).filter(|start| (from..to).contains(start)) else {
                continue;
            };
            let length = usize::from(pattern.length);
            let wanted = &self.arena[pattern.start as usize..pattern.start as usize + length];
            if text.get(start..start + length) == Some(wanted) {
                found(pattern.secret, start, length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::domain::scan::sample::make;

    fn values(all: &[&str]) -> Values {
        let mut gathered = Gathered::default();
        for (number, value) in all.iter().enumerate() {
            gathered.add(u32::try_from(number).unwrap(), &Plaintext::take(value.as_bytes().to_vec()));
        }
        Values::new(gathered)
    }

    fn found(values: &Values, text: &[u8]) -> Vec<u32> {
        let mut all = Vec::new();
        values.each(text, 0, text.len(), |secret, _, _| all.push(secret));
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn a_value_is_found_at_every_place_and_in_every_writing() {
        let value = "k9/p&q${x}\"1''2";
        let values = values(&[value, "other-value-1"]);
        let hex = value.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let url: String = value
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        let mut forms = vec![value.to_owned(), hex.to_uppercase(), hex, url];
        forms.push(value.replace('"', "\\\"").replace("${", "\\${"));
        forms.push(value.replace("''", "'''").replace("${", "''${"));
        for before in ["", "x", "xy", "xyz"] {
            forms.push(STANDARD.encode(format!("{before}{value}and more of it")));
        }
        for form in &forms {
            for pad in 0..20 {
                let text = format!("{}{form}{}", "p".repeat(pad), "s".repeat(20 - pad));
                assert_eq!(found(&values, text.as_bytes()), [0], "{form} after {pad}");
            }
            assert_eq!(found(&values, form.as_bytes()), [0]);
        }
        assert!(found(&values, b"k9/p&q${x}\"1'2 and other-value-2").is_empty());
    }

    #[test]
    fn what_is_too_short_is_not_looked_for_and_said() {
        let mut gathered = Gathered::default();
        for short in ["", "a", "seven77", "  x  "] {
            assert!(!gathered.add(0, &Plaintext::take(short.as_bytes().to_vec())), "{short}");
        }
        assert!(gathered.texts.is_empty());
        assert!(found(&Values::new(gathered), b"a text of some length").is_empty());
    }

    #[test]
    fn five_thousand_values_that_begin_alike() {
        let all: Vec<String> = (0..5000).map(|n| format!("glpat-the-same-beginning-{}", make("<a16>", n))).collect();
        let values = values(&all.iter().map(String::as_str).collect::<Vec<_>>());
        for at in [0usize, 17, 4999] {
            assert_eq!(found(&values, format!("x = \"{}\";", all[at]).as_bytes()), [u32::try_from(at).unwrap()]);
        }
        // A text of nothing but the common beginning takes no longer than any other.
        let hostile = "glpat-the-same-beginning-".repeat(20_000);
        assert!(found(&values, hostile.as_bytes()).is_empty());
    }

    #[test]
    fn an_environment_file_leaks_by_its_value_alone() {
        let (token, leaf) = (make("4q<a10>", 3), make("k3<a16>Vb", 3));
        let env = format!("URL=https://forge.internal\nTOKEN={token}\nNAME=short-name\n");
        let values = values(&[&env, &format!("{{\"a\": \"{leaf}\"}}")]);
        assert_eq!(found(&values, format!("x = \"{token}\";").as_bytes()), [0]);
        assert!(found(&values, b"url = https://forge.internal; name = short-name").is_empty());
        assert_eq!(found(&values, format!("x {leaf} here").as_bytes()), [1]);
    }

    proptest::proptest! {
        #[test]
        fn finds_what_a_slow_look_finds(all in proptest::collection::vec("[ab]{8,12}", 1..6), text in "[ab]{0,200}", from in 0usize..50, length in 0usize..200) {
            let (text, to) = (text.as_bytes(), from + length);
            let values = values(&all.iter().map(String::as_str).collect::<Vec<_>>());
            let mut got = Vec::new();
            values.each(text, from, to, |secret, at, length| got.push((at, length, secret)));
            got.retain(|(at, length, secret)| text[*at..*at + *length] == *all[*secret as usize].as_bytes());
            got.sort_unstable();
            got.dedup();
            let mut slow = Vec::new();
            for at in from..to.min(text.len()) {
                for (number, value) in all.iter().enumerate() {
                    if text[at..].starts_with(value.as_bytes()) && all.iter().position(|other| other == value) == Some(number) {
                        slow.push((at, value.len(), u32::try_from(number).unwrap()));
                    }
                }
            }
            slow.sort_unstable();
            proptest::prop_assert_eq!(got, slow);
        }
    }
}
