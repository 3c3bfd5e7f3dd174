//! Text that is written in base64, in hexadecimal digits, or with the escapes of an address: where it stands, and what it is.
//! Only what comes to plain text is told; keys, hashes and pictures are not text. Standard decoders read it; what looks for
//! runs is written here, since it may take no more than a fraction of the time that rules take.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::domain::scan::charset::REACH;

/// The shortest run that is decoded: 18 bytes of text in base64, 12 in hexadecimal digits.
const SHORTEST: usize = 24;
/// How much of a word that was cut is decoded once more: what is looked for may stand at the cut.
const OVERLAP: usize = REACH / 16;
/// How much is decoded first, to see whether it is text at all.
const SAMPLE: usize = 16;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// The letters of both alphabets of base64, as a table: each byte of a text may be asked.
static LETTERS: [bool; 256] = {
    let mut letters = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "less than 256")]
        let letter = byte as u8;
        letters[byte] = letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'/' | b'-' | b'_');
        byte += 1;
    }
    letters
};

/// Tells each text that is encoded in a run that begins in `from..to`: where the run is, and what it stands for. A run is
/// followed to the end of what is at hand.
pub(super) fn each(bytes: &[u8], from: usize, to: usize, mut found: impl FnMut(Range<usize>, Vec<u8>)) {
    let to = to.min(bytes.len());
    // Lines that are no text together are tried once, not from each of them again.
    let (mut at, mut apart) = (from, from);
    // A run goes on that began before: it was told then, as far as it was at hand.
    if from > 0 && is_letter(bytes, from - 1) {
        at += run(bytes, from);
    }
    while at < to {
        // Every run of that length has a letter at each place; most places are ruled out by one look.
        let Some(window) = bytes.get(at..at + SHORTEST) else { break };
        let Some(back) = window.iter().rposition(|byte| !LETTERS[usize::from(*byte)]) else {
            let end = at + run(bytes, at);
            if at >= apart
                && let Some((last, whole)) = joined(bytes, at, end)
            {
                if let Some(text) = decoded(&whole) {
                    found(at..last, text);
                    at = last;
                    continue;
                }
                apart = last;
            }
            if let Some(text) = bytes.get(at..end).and_then(decoded) {
                found(at..end, text);
            }
            at = end;
            continue;
        };
        at += back + 1;
    }
    escaped(bytes, from, to, &mut found);
}

fn is_letter(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|byte| LETTERS[usize::from(*byte)])
}

fn run(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take_while(|byte| LETTERS[usize::from(**byte)]).count()
}

/// Whether a run begins with the hexadecimal digits of a text: most runs of them are digests.
fn begins_hex(run: &[u8]) -> bool {
    let letter = |pair: &[u8; 2]| pair_of(pair).is_some_and(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'));
    run[..SAMPLE].as_chunks::<2>().0.iter().all(letter)
}

/// The byte that two hexadecimal digits stand for.
fn pair_of([high, low]: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// What reads a run of base64, if its first letters are those of a text.
fn reader(run: &[u8]) -> Option<&'static GeneralPurpose> {
    let engine = if run.iter().any(|byte| b"-_".contains(byte)) { &BASE64_URL } else { &BASE64 };
    let mut sample = [0; SAMPLE];
    let length = engine.decode_slice(&run[..SAMPLE], &mut sample).ok()?;
    is_plain(&sample[..length]).then_some(engine)
}

/// A run that is broken into lines of one length, put together: where it ends, and its letters. The last line may be shorter.
fn joined(bytes: &[u8], at: usize, end: usize) -> Option<(usize, Vec<u8>)> {
    let width = end - at;
    if !width.is_multiple_of(4) || !(begins_hex(&bytes[at..end]) || reader(&bytes[at..end]).is_some()) {
        return None;
    }
    let (mut last, mut whole) = (end, bytes[at..end].to_vec());
    while whole.len().is_multiple_of(width) && whole.len() < REACH {
        let after = bytes[last..].strip_prefix(b"\r").unwrap_or(&bytes[last..]);
        let Some(after) = after.strip_prefix(b"\n") else { break };
        let blank = after.iter().take(64).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line = bytes.len() - after.len() + blank;
        let length = after[blank..].iter().take(width + 1).take_while(|byte| LETTERS[usize::from(**byte)]).count();
        if length == 0 || length > width {
            break;
        }
        // A line that goes on with something else is none of it.
        let ends = bytes.get(line + length).is_none_or(|byte| b"\r\n=\"'`".contains(byte));
        if !ends {
            break;
        }
        whole.extend_from_slice(&bytes[line..line + length]);
        last = line + length;
    }
    (last > end).then_some((last, whole))
}

/// What a run stands for, where that is text.
fn decoded(run: &[u8]) -> Option<Vec<u8>> {
    if run.len().is_multiple_of(2) && begins_hex(run) {
        let text: Option<Vec<u8>> = run.as_chunks::<2>().0.iter().map(pair_of).collect();
        if let Some(text) = text.filter(|text| is_text(text)) {
            return Some(text);
        }
    }
    let engine = reader(run)?;
    // The last letter of a run that is cut, or goes on in another alphabet, is left out.
    let whole = if run.len() % 4 == 1 { run.len() - 1 } else { run.len() };
    engine.decode(&run[..whole]).ok().filter(|text| is_text(text))
}

/// Whether no byte is one that texts do not have.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0x80..))
}

fn is_text(bytes: &[u8]) -> bool {
    // The last letter may be cut.
    is_plain(bytes) && std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Words with escapes as addresses have them, `%3D`: the second in a word and later ones are of the same.
fn escaped(bytes: &[u8], from: usize, to: usize, found: &mut impl FnMut(Range<usize>, Vec<u8>)) {
    let ends = |byte: &u8| !byte.is_ascii_graphic() || b"\"'`<>{}\\".contains(byte);
    let mut told = 0;
    let region = bytes.get(from..to).unwrap_or_default();
    for sign in memchr::memchr_iter(b'%', region).map(|at| from + at) {
        if sign < told || !bytes.get(sign + 1..sign + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)) {
            continue;
        }
        // A word without an end goes on where it was cut, a little before: from its beginning each time, it would be decoded
        // many times over, and what comes out of it again.
        let back = sign.saturating_sub(REACH / 2).max(told.saturating_sub(OVERLAP));
        let before = &bytes[back..sign];
        let start = sign - before.iter().rev().position(ends).unwrap_or(before.len());
        let after = &bytes[sign..bytes.len().min(sign + REACH / 2)];
        let end = sign + after.iter().position(ends).unwrap_or(after.len());
        told = end;
        let mut text = Vec::with_capacity(end - start);
        let mut rest = &bytes[start..end];
        while let Some((first, after)) = rest.split_first() {
            let value = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
            match value.filter(|_| *first == b'%') {
                Some(value) => {
                    text.push(value);
                    rest = &after[2..];
                }
                None => {
                    text.push(*first);
                    rest = after;
                }
            }
        }
        if is_text(&text) {
            found(start..end, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        each(text.as_bytes(), 0, text.len(), |range, text| {
            assert!(!range.is_empty());
            all.push(String::from_utf8(text).unwrap());
        });
        all
    }

    #[test]
    fn text_is_told_in_each_of_its_forms_and_other_bytes_are_not() {
        let plain = "the first line of it\nthe second";
        for encoded in [BASE64.encode(plain), BASE64_URL.encode(plain)] {
            assert_eq!(texts(&format!("a: {encoded}\n")), [plain]);
            assert_eq!(texts(&encoded), [plain]);
            assert_eq!(texts(&format!("short {} short", encoded.trim_end_matches('='))), [plain]);
        }
        let hex = plain.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(texts(&format!("\"{hex}\"")), [plain]);
        assert_eq!(texts("x=\"a%20b%3Dc\" 100% of %zz"), ["a b=c"]);
        let lines = |text: &str, width: usize| {
            let lines: Vec<&str> =
                text.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            [format!("a: |\n  {}\n", lines.join("\n  ")), format!("{}\r\n", lines.join("\r\n"))]
        };
        let long = format!("{plain}{plain}{plain}");
        let hex = long.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        for text in [lines(&BASE64.encode(&long), 64), lines(&BASE64_URL.encode(&long), 76), lines(&hex, 60)] {
            assert!(text.iter().all(|text| texts(text) == [long.clone()]), "{text:?}");
        }
        // What is no text together may be text alone.
        let line = BASE64.encode("the first line of it is ");
        assert_eq!(texts(&format!("{line}\n{}\n", BASE64.encode([0xff; 24]))), ["the first line of it is "]);
        let random: Vec<u8> = (0..=255u8).map(|byte| byte.wrapping_mul(167) ^ 0x9c).collect();
        assert!(texts(&BASE64.encode(&random)).is_empty() && texts("words and more words, but no code").is_empty());
    }

    #[test]
    fn a_word_without_an_end_is_decoded_once() {
        let text = "%25252541password=".repeat(10_000);
        let mut decoded = 0;
        each(text.as_bytes(), 0, text.len(), |_, text| decoded += text.len());
        assert!(decoded > text.len() / 2 && decoded < text.len() * 5 / 4, "{decoded} of {}", text.len());
    }

    proptest::proptest! {
        #[test]
        fn nothing_ends_it_and_places_are_in_the_text(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0usize..200) {
            each(&bytes, cut.min(bytes.len()), bytes.len(), |range, _| assert!(range.end <= bytes.len()));
        }
    }
}
