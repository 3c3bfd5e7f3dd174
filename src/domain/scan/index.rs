//! The keyed index of the fleet's values, which finds all of them exactly in one pass. It is built in memory if the
//! values can be decrypted, and otherwise read from its file. For each text to find, it has a MAC (HMAC-SHA-256, RFC
//! 2104, truncated to 16 bytes) and a tag: a few bits of a keyed hash of eight of the text's bytes, which rules out
//! nearly every position of the searched data. The file contains the index encrypted. Anyone who can decrypt it can
//! test guesses of a whole value, and otherwise learns only its length and those few bits. An automaton for some
//! thousand texts would take several times as long and as much memory, and that memory would contain copies of values.

use std::collections::{BTreeSet, HashMap};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::scan::charset::REACH;
use crate::domain::scan::index_file::damaged;
use crate::domain::scan::variants::{Gathered, SHORTEST};
use crate::domain::secret::plaintext::Plaintext;
use crate::error::Result;

/// How many bits a tag has beyond those needed to count the texts, so that few positions match by chance.
const SPARE: u32 = 8;
/// The minimum and the maximum number of bits in a tag.
const BITS: std::ops::RangeInclusive<u32> = 12..=24;
/// How many positions of a text are tried for a tag that no other text has, before all of them are tried.
const TRIED: usize = 24;
/// How many texts may share a tag.
const SHARED: usize = 32;
/// How many bytes may be compared closely for each byte searched, on average over a piece. Data only resembles the
/// values that much if somebody constructed the data or the index for it.
const CLOSELY: usize = 256;
/// The cost of one close comparison in addition to its text, in bytes.
const LOOK: usize = 192;
/// Sizes in the plaintext of the index file, in bytes: the header, and one entry.
const HEAD: usize = 1 + 8 + 64;
const ENTRY: usize = 4 + 4 + 2 + 2 + 16;

#[derive(Clone, Copy)]
struct Entry {
    tag: u32,
    secret: u32,
    /// The offset in the text of the bytes that the tag is made from.
    at: u16,
    length: u16,
    mac: [u8; 16],
}

/// The index, ready for searching.
pub struct Index {
    /// Whether it was read from its file.
    pub is_read: bool,
    bits: u32,
    multiplier: u64,
    key: Zeroizing<[u8; 64]>,
    mac: Hmac<Sha256>,
    /// Sorted by tag.
    entries: Vec<Entry>,
    /// One bit for each tag: whether any entry has it.
    tags: Vec<u64>,
    longest: usize,
}

impl Index {
    /// Builds the index for these texts. `key` (for the MACs) and `multiplier` (for the tags) must be random and
    /// secret.
    pub fn new(gathered: Gathered, key: Zeroizing<[u8; 64]>, multiplier: u64) -> Self {
        let texts = gathered.distinct();
        let mut index = Self::empty(bits_for(texts.len()), multiplier, key);
        let mut used: HashMap<u32, u32> = HashMap::new();
        for (secret, text) in &texts {
            let last = text.len() - SHORTEST;
            let tag = |at: usize| window(text, at).map(|bytes| index.tag(bytes));
            // Values with the same beginning are distinguished by another part.
            let worn = |at: &usize| tag(*at).and_then(|tag| used.get(&tag)).copied().unwrap_or(0);
            let few = (0..=last).step_by((last / TRIED).max(1)).min_by_key(worn).unwrap_or(0);
            let at = if worn(&few) == 0 { few } else { (0..=last).find(|at| worn(at) == 0).unwrap_or(few) };
            let (Some(tag), Ok(place), Ok(length)) = (tag(at), u16::try_from(at), u16::try_from(text.len())) else {
                continue;
            };
            *used.entry(tag).or_default() += 1;
            let mac = index.mac_of(text);
            index.entries.push(Entry { tag, secret: *secret, at: place, length, mac });
        }
        index.ready()
    }

    fn empty(bits: u32, multiplier: u64, key: Zeroizing<[u8; 64]>) -> Self {
        let mac = Hmac::new((&*key).into());
        // An even multiplier would ignore the highest bits of its input.
        let multiplier = multiplier | 1;
        Self { is_read: false, bits, multiplier, key, mac, entries: Vec::new(), tags: Vec::new(), longest: 0 }
    }

    fn ready(mut self) -> Self {
        self.entries.sort_by_key(|entry| entry.tag);
        self.tags = vec![0; 1 << (self.bits - 6)];
        for entry in &self.entries {
            self.tags[entry.tag as usize / 64] |= 1 << (entry.tag % 64);
        }
        self.longest = self.entries.iter().map(|entry| usize::from(entry.length)).max().unwrap_or(0);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The numbers of the secrets whose values it contains.
    pub fn secrets(&self) -> BTreeSet<u32> {
        self.entries.iter().map(|entry| entry.secret).collect()
    }

    pub fn content(&self) -> Plaintext {
        let mut bytes = Vec::with_capacity(HEAD + ENTRY * self.entries.len());
        bytes.push(u8::try_from(self.bits).unwrap_or(0));
        bytes.extend(self.multiplier.to_le_bytes());
        bytes.extend(*self.key);
        for entry in &self.entries {
            bytes.extend(entry.tag.to_le_bytes());
            bytes.extend(entry.secret.to_le_bytes());
            bytes.extend(entry.at.to_le_bytes());
            bytes.extend(entry.length.to_le_bytes());
            bytes.extend(entry.mac);
        }
        Plaintext::take(bytes)
    }

    pub fn parse(content: &Plaintext) -> Result<Self> {
        content.expose(Self::read).ok_or_else(damaged)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let (bits, head) = head.split_first()?;
        let (multiplier, key) = head.split_first_chunk()?;
        let bits = u32::from(*bits);
        let mut index = Self::empty(bits, u64::from_le_bytes(*multiplier), Zeroizing::new(key.try_into().ok()?));
        let entries = rest.chunks(ENTRY).map(|entry| {
            let (tag, rest) = entry.split_first_chunk()?;
            let (secret, rest) = rest.split_first_chunk()?;
            let (at, rest) = rest.split_first_chunk()?;
            let (length, mac) = rest.split_first_chunk()?;
            let entry = Entry {
                tag: u32::from_le_bytes(*tag),
                secret: u32::from_le_bytes(*secret),
                at: u16::from_le_bytes(*at),
                length: u16::from_le_bytes(*length),
                mac: mac.try_into().ok()?,
            };
            let inside = usize::from(entry.at) + SHORTEST <= usize::from(entry.length);
            let short = usize::from(entry.length) <= REACH;
            (inside && short && BITS.contains(&bits) && entry.tag < 1 << bits).then_some(entry)
        });
        index.is_read = true;
        index.entries = entries.collect::<Option<_>>()?;
        // Anybody can encrypt an index to the key, so one that would have every position compared closely is refused.
        let index = (BITS.contains(&bits) && bits >= bits_for(index.entries.len())).then(|| index.ready())?;
        let worn = |entries: &[Entry]| entries.first().map(|first| first.tag) == entries.last().map(|last| last.tag);
        (!index.entries.windows(SHARED + 1).any(worn)).then_some(index)
    }

    #[inline]
    fn tag(&self, bytes: u64) -> u32 {
        // The highest bits of the product depend on all bytes.
        u32::try_from(bytes.wrapping_mul(self.multiplier) >> (64 - self.bits)).unwrap_or(0)
    }

    fn mac_of(&self, text: &[u8]) -> [u8; 16] {
        let whole = self.mac.clone().chain_update(text).finalize().into_bytes();
        let mut mac = [0; 16];
        mac.copy_from_slice(&whole[..16]);
        mac
    }

    /// Reports every text that begins in `from..to`: the secret's number, position and length. Returns whether
    /// everything was searched: if nearly every position looks like a value, only a part is.
    #[must_use]
    pub fn each(&self, text: &[u8], from: usize, to: usize, mut found: impl FnMut(u32, usize, usize)) -> bool {
        // The bytes for a text's tag may be anywhere in it.
        let end = text.len().min(to.saturating_add(self.longest));
        let Some(region) = text.get(from..end) else { return true };
        let mut look = Look { left: (region.len() + REACH).saturating_mul(CLOSELY), last: None };
        for (at, bytes) in region.windows(SHORTEST).enumerate() {
            let Ok(bytes) = bytes.try_into() else { continue };
            let tag = self.tag(u64::from_le_bytes(bytes));
            if self.tags.get(tag as usize / 64).is_some_and(|tags| tags >> (tag % 64) & 1 == 1) {
                self.compare(tag, text, from + at, from..to, &mut look, &mut found);
                if look.left == 0 {
                    return false;
                }
            }
        }
        true
    }

    fn compare(
        &self,
        tag: u32,
        text: &[u8],
        at: usize,
        begins: std::ops::Range<usize>,
        look: &mut Look,
        found: &mut impl FnMut(u32, usize, usize),
    ) {
        let first = self.entries.partition_point(|entry| entry.tag < tag);
        for (number, entry) in (first..).zip(&self.entries[first..]).take_while(|(_, entry)| entry.tag == tag) {
            let start = at.checked_sub(usize::from(entry.at)).filter(|start| begins.contains(start));
            let length = usize::from(entry.length);
            let Some((start, there)) = start.and_then(|start| Some((start, text.get(start..start + length)?))) else {
                continue;
            };
            // In a run of one repeated byte, or a short repeated pattern, the comparison can be reused.
            let again = look.last.filter(|last| last.0 == number && text.get(last.1..last.1 + length) == Some(there));
            look.left = look.left.saturating_sub(if again.is_some() { LOOK / 2 + length / 16 } else { LOOK + length });
            if look.left == 0 {
                return;
            }
            let hit = again.map_or_else(|| self.mac_of(there) == entry.mac, |last| last.2);
            look.last = Some((number, start, hit));
            if hit {
                found(entry.secret, start, length);
            }
        }
    }
}

/// How much may still be compared closely, and the last comparison: its entry, its position, and whether it matched.
struct Look {
    left: usize,
    last: Option<(usize, usize, bool)>,
}

/// The number of bits in a tag for this many texts.
fn bits_for(texts: usize) -> u32 {
    (usize::BITS - texts.leading_zeros() + SPARE).clamp(*BITS.start(), *BITS.end())
}

/// Eight bytes of a text as a number.
fn window(text: &[u8], at: usize) -> Option<u64> {
    let bytes = text.get(at..at + SHORTEST)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::domain::scan::sample::make;

    fn gathered(all: &[&[u8]]) -> Gathered {
        let mut gathered = Gathered::default();
        for (number, value) in all.iter().enumerate() {
            gathered.add(u32::try_from(number).unwrap(), &Plaintext::take(value.to_vec()));
        }
        gathered
    }

    fn index(all: &[&[u8]], byte: u8) -> Index {
        Index::new(gathered(all), Zeroizing::new([byte; 64]), 0x9E37_79B9_7F4A_7C15 ^ u64::from(byte))
    }

    fn values(all: &[&str]) -> Index {
        index(&all.iter().map(|value| value.as_bytes()).collect::<Vec<_>>(), 5)
    }

    fn whose(values: &Index, text: &[u8]) -> Vec<u32> {
        let mut all = Vec::new();
        assert!(values.each(text, 0, text.len(), |secret, _, _| all.push(secret)));
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn what_is_sealed_reads_back_and_anything_else_is_refused() {
        let index = index(&[b"a-value-of-some-length", b"another value"], 7);
        let content = index.content();
        let back = Index::parse(&content).unwrap();
        assert_eq!((back.entries.len(), back.secrets()), (index.entries.len(), BTreeSet::from([0, 1])));
        content.expose(|bytes| {
            for cut in [0, 1, HEAD - 1, HEAD + 1, bytes.len() - 1] {
                assert!(Index::read(&bytes[..cut]).is_none(), "{cut}");
            }
            for (at, byte) in [(0, 0), (0, 11), (0, 25), (0, 64), (HEAD + 3, 255), (HEAD + 9, 255), (HEAD + 11, 0)] {
                let mut bad = bytes.to_vec();
                bad[at] = byte;
                assert!(Index::read(&bad).is_none() || at == HEAD + 11, "{at} {byte}");
            }
        });
        assert!(Index::parse(&Plaintext::take(vec![12; HEAD])).unwrap().is_empty());
    }

    #[test]
    fn an_index_that_would_take_long_is_refused() {
        let all: Vec<Vec<u8>> = (0..100).map(|number| format!("value-number-{number}").into_bytes()).collect();
        let index = index(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), 3);
        let bytes = index.content().expose(<[u8]>::to_vec);
        let refused = |at: usize, to: &[u8]| {
            let mut bad = bytes.clone();
            bad[at..at + to.len()].copy_from_slice(to);
            Index::read(&bad).is_none()
        };
        assert!(!refused(0, &[u8::try_from(index.bits).unwrap()]), "as it is it is taken");
        // Fewer bits let more positions through; long texts take long to compare.
        assert!(refused(0, &[12]));
        assert!(refused(HEAD + 10, &5000u16.to_le_bytes()));
        // So does a tag that many texts share.
        let tag = bytes[HEAD..HEAD + 4].to_vec();
        let same = |count: usize| {
            let mut same = bytes.clone();
            (0..count).for_each(|number| same[HEAD + ENTRY * number..][..4].copy_from_slice(&tag));
            Index::read(&same)
        };
        assert!(same(SHARED).is_some() && same(SHARED + 1).is_none());
    }

    #[test]
    fn what_looks_like_values_everywhere_is_not_looked_at_for_ever() {
        let all: Vec<Vec<u8>> = (0..100).map(|number| format!("value-number-{number}").into_bytes()).collect();
        let mut index = index(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), 3);
        let tag = index.tag(u64::from_le_bytes(*b"xxxxxxxx"));
        let mut looked = |entries: Vec<Entry>, text: &[u8]| {
            index.entries = entries;
            let mut hits = 0;
            let whole = Index::parse(&index.content()).unwrap().each(text, 0, text.len(), |_, _, _| hits += 1);
            (whole, hits)
        };
        // An attacker who knows the key of the index fits the index to a text.
        let entry = |length, mac| Entry { tag, secret: 0, at: 0, length, mac };
        let fits: Vec<u8> = (0..60_000u32).flat_map(|number| format!("xxxxxxxx{number:08}").into_bytes()).collect();
        assert_eq!(looked((0..32).map(|number| entry(4000, [number; 16])).collect(), &fits), (false, 0));
        // Runs of one byte are common, and are searched completely.
        let run = vec![b'x'; 100_000];
        assert_eq!(looked(vec![entry(64, [0; 16])], &run), (true, 0));
        let mac = Index::new(gathered(&[b"any value"]), Zeroizing::new([3; 64]), 1).mac_of(&run[..64]);
        assert_eq!(looked(vec![entry(64, mac)], &run), (true, run.len() - 63));
        // An index built in memory may have more texts per tag, but has the same time limit.
        index.entries = (0..200).map(|number| entry(4000, [number; 16])).collect();
        assert!(!index.ready().each(&fits, 0, fits.len(), |_, _, _| ()));
    }

    #[test]
    fn texts_that_differ_in_one_place_have_tags_of_their_own() {
        let all: Vec<Vec<u8>> = (0..200)
            .map(|number| [&[b'a'; 1500][..], format!("{number:04}").as_bytes(), &[b'a'; 1500]].concat())
            .collect();
        let index = index(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), 3);
        assert!(Index::parse(&index.content()).is_ok());
    }

    #[test]
    fn no_value_and_no_digest_without_a_key_is_in_it() {
        use sha2::Digest;
        let value = b"a-value-of-some-length".as_slice();
        let (one, other) = (index(&[value], 1), index(&[value], 2));
        one.content().expose(|bytes| {
            let digest = Sha256::digest(value);
            for part in value.windows(4).chain(digest.windows(4)) {
                assert!(!bytes.windows(4).any(|there| there == part));
            }
            other.content().expose(|other| assert_ne!(bytes[HEAD..], other[HEAD..]));
        });
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
                assert_eq!(whose(&values, text.as_bytes()), [0], "{form} after {pad}");
            }
            assert_eq!(whose(&values, form.as_bytes()), [0]);
        }
        assert!(whose(&values, b"k9/p&q${x}\"1'2 and other-value-2").is_empty());
    }

    #[test]
    fn what_is_too_short_is_not_looked_for_and_said() {
        let mut gathered = Gathered::default();
        for short in ["", "a", "seven77", "  x  "] {
            assert!(!gathered.add(0, &Plaintext::take(short.as_bytes().to_vec())), "{short}");
        }
        let none = Index::new(gathered, Zeroizing::new([5; 64]), 1);
        assert!(none.is_empty() && whose(&none, b"a text of some length").is_empty());
    }

    #[test]
    fn five_thousand_values_that_begin_alike() {
        let all: Vec<String> = (0..5000).map(|n| format!("glpat-the-same-beginning-{}", make("<a16>", n))).collect();
        let values = values(&all.iter().map(String::as_str).collect::<Vec<_>>());
        for at in [0usize, 17, 4999] {
            assert_eq!(whose(&values, format!("x = \"{}\";", all[at]).as_bytes()), [u32::try_from(at).unwrap()]);
        }
        // A text that only repeats the common beginning takes no longer than any other.
        let hostile = "glpat-the-same-beginning-".repeat(20_000);
        assert!(whose(&values, hostile.as_bytes()).is_empty());
    }

    #[test]
    fn an_environment_file_leaks_by_its_value_alone() {
        let (token, leaf) = (make("4q<a10>", 3), make("k3<a16>Vb", 3));
        let env = format!("URL=https://forge.internal\nTOKEN={token}\nNAME=short-name\n");
        let values = values(&[&env, &format!("{{\"a\": \"{leaf}\"}}")]);
        assert_eq!(whose(&values, format!("x = \"{token}\";").as_bytes()), [0]);
        assert!(whose(&values, b"url = https://forge.internal; name = short-name").is_empty());
        assert_eq!(whose(&values, format!("x {leaf} here").as_bytes()), [1]);
    }

    proptest::proptest! {
        #[test]
        fn finds_what_a_slow_look_finds(all in proptest::collection::vec("[ab]{8,12}", 1..6), text in "[ab]{0,200}", from in 0usize..50, length in 0usize..200) {
            let (text, to) = (text.as_bytes(), from + length);
            let made = values(&all.iter().map(String::as_str).collect::<Vec<_>>());
            let (mut got, mut again) = (Vec::new(), Vec::new());
            proptest::prop_assert!(made.each(text, from, to, |secret, at, length| got.push((at, length, secret))));
            // The index finds the same after it is written and read.
            let read = Index::parse(&made.content()).unwrap();
            proptest::prop_assert!(read.each(text, from, to, |secret, at, length| again.push((at, length, secret))));
            proptest::prop_assert!((made.is_read, read.is_read) == (false, true) && got == again);
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
