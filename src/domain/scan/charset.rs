//! The formats of secrets: alphabets, lengths, and what may precede and follow.

use std::ops::{Range, RangeInclusive};

use serde::Deserialize;

/// How many bytes before and after its start a rule may look at.
pub const REACH: usize = 4096;

/// The text around a position, as passed to a rule.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// The available bytes: at least `REACH` before and after the position, if the text has them.
    pub(super) bytes: &'a [u8],
    /// Whether unquoted values are common in this text.
    pub(super) bare: bool,
}

/// The bytes that a secret consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Alphabet {
    Alnum,
    /// Lower-case hexadecimal digits.
    Hex,
    /// Capital letters and the digits 2 to 7.
    Base32,
    /// Letters, digits, `+`, `/`, `=`.
    Base64,
    /// Letters, digits, `-`, `_`.
    Url,
    /// Letters, digits, `-`, `_`, `.`, `=`.
    Dotted,
    /// The alphabet of age keys.
    Bech32,
}

impl Alphabet {
    pub(super) fn has(self, byte: u8) -> bool {
        match self {
            Alphabet::Alnum => byte.is_ascii_alphanumeric(),
            Alphabet::Hex => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            Alphabet::Base32 => byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte),
            Alphabet::Base64 => byte.is_ascii_alphanumeric() || b"+/=".contains(&byte),
            Alphabet::Url => byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
            Alphabet::Dotted => byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte),
            Alphabet::Bech32 => (byte.is_ascii_uppercase() || byte.is_ascii_digit()) && !b"1BIO".contains(&byte),
        }
    }
}

/// How many bytes from a position on are in an alphabet; stops after `most` + 1.
pub(super) fn run(text: &[u8], at: usize, alphabet: Alphabet, most: usize) -> usize {
    text.get(at..).unwrap_or_default().iter().take(most + 1).take_while(|byte| alphabet.has(**byte)).count()
}

/// Whether a token may begin at a position: there is no letter, digit or `_` before it.
pub(super) fn begins(text: &[u8], at: usize) -> bool {
    // In escaped text, the `n` of a preceding `\n` is not a letter.
    let before = |back: usize| at.checked_sub(back).and_then(|at| text.get(at)).copied();
    match before(1) {
        None => true,
        Some(byte) if byte.is_ascii_alphanumeric() => b"nrt".contains(&byte) && before(2) == Some(b'\\'),
        Some(byte) => byte != b'_',
    }
}

/// A run of an alphabet at a position, if its length is in this range.
pub(super) fn exactly(
    text: &[u8],
    at: usize,
    alphabet: Alphabet,
    length: &RangeInclusive<usize>,
) -> Option<Range<usize>> {
    let found = run(text, at, alphabet, *length.end());
    length.contains(&found).then(|| at..at + found)
}

/// The line around a position, at most `reach` bytes to either side.
pub(super) fn line(text: &[u8], at: usize, reach: usize) -> &[u8] {
    let start = at.saturating_sub(reach);
    let before = text.get(start..at).unwrap_or_default();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(start, |end| start + end + 1);
    let after = text.get(at..text.len().min(at + reach)).unwrap_or_default();
    let end = at + after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len());
    text.get(start..end).unwrap_or_default()
}

/// Whether a text contains a word, ignoring case.
pub(super) fn mentions(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}
