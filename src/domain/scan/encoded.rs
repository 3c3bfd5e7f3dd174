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
/// How many letters are looked at, at first, of every run that may be as long as the shortest.
const FEW: usize = 8;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// What each byte stands for as a letter of base64, in either alphabet, or `NONE`.
static LETTERS: [u8; 256] = {
    let mut letters = [NONE; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "less than 256")]
        let letter = byte as u8;
        letters[byte] = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => NONE,
        };
        byte += 1;
    }
    letters
};
/// No letter: all bits, where a letter has six.
const NONE: u8 = 0xff;

/// Tells each text that is encoded in a run that begins in `from..to`: where the run is, and what it stands for. A run is
/// followed to the end of what is at hand.
pub(super) fn each(bytes: &[u8], from: usize, to: usize, mut found: impl FnMut(Range<usize>, Vec<u8>)) {
    let to = to.min(bytes.len());
    // Lines that are no text together are tried once, not from each of them again.
    let (mut at, mut apart) = (from, from);
    // A run goes on that began before: it was told then, as far as it was at hand.
    if from > 0 && bytes.get(from - 1).is_some_and(is_letter) {
        at += run(bytes, from);
    }
    // No run of that length lies between two of these looks: all other places are passed over.
    let mut look = at;
    while look < to + SHORTEST
        && let Some(few) = bytes.get(look..look + FEW)
    {
        if few.iter().fold(0, |all, byte| all | LETTERS[usize::from(*byte)]) == NONE {
            look += SHORTEST - FEW;
            continue;
        }
        let start = look - bytes[at..look].iter().rev().take_while(|byte| is_letter(byte)).count();
        if start >= to {
            break;
        }
        let end = look + run(bytes, look);
        at = end;
        let run = &bytes[start..end];
        if run.len() >= SHORTEST && (begins_hex(run) || reader(run).is_some()) {
            let lines = if start < apart { None } else { joined(bytes, start, end) };
            apart = lines.as_ref().map_or(apart, |(last, _)| *last);
            if let Some((last, text)) = lines.and_then(|(last, whole)| Some((last, decoded(&whole)?))) {
                found(start..last, text);
                at = last;
            } else if let Some(text) = decoded(run) {
                found(start..end, text);
            }
        }
        look = at;
    }
    escaped(bytes, from, to, &mut found);
}

fn is_letter(byte: &u8) -> bool {
    LETTERS[usize::from(*byte)] != NONE
}

fn run(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take_while(|byte| is_letter(byte)).count()
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

/// What reads a run of base64, and how much of it, if its first letters are those of a text, and all are of one alphabet. The
/// last letter of a run that is cut, or goes on in another alphabet, is left out.
fn reader(run: &[u8]) -> Option<(&'static GeneralPurpose, &[u8])> {
    let mut sample = [0; SAMPLE / 4 * 3];
    for (four, three) in run[..SAMPLE].as_chunks::<4>().0.iter().zip(sample.as_chunks_mut::<3>().0) {
        let bits = four.iter().fold(0, |bits, letter| bits << 6 | u32::from(LETTERS[usize::from(*letter)]));
        [_, three[0], three[1], three[2]] = bits.to_be_bytes();
    }
    if !is_text(&sample) {
        return None;
    }
    let run = &run[..run.len() - usize::from(run.len() % 4 == 1)];
    let has = |signs: &[u8; 2]| run.iter().any(|byte| signs.contains(byte));
    match (has(b"+/"), has(b"-_")) {
        (true, true) => None,
        (_, false) => Some((&BASE64, run)),
        (false, true) => Some((&BASE64_URL, run)),
    }
}

/// A run that is broken into lines of one length, put together: where it ends, and its letters. The last line may be shorter.
fn joined(bytes: &[u8], at: usize, end: usize) -> Option<(usize, Vec<u8>)> {
    let width = end - at;
    if !width.is_multiple_of(4) {
        return None;
    }
    let (mut last, mut whole) = (end, bytes[at..end].to_vec());
    while whole.len().is_multiple_of(width) && whole.len() < REACH {
        let after = bytes[last..].strip_prefix(b"\r").unwrap_or(&bytes[last..]);
        let Some(after) = after.strip_prefix(b"\n") else { break };
        let blank = after.iter().take(64).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line = bytes.len() - after.len() + blank;
        let length = after[blank..].iter().take(width + 1).take_while(|byte| is_letter(byte)).count();
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
    let (engine, run) = reader(run)?;
    engine.decode(run).ok().filter(|text| is_text(text))
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
        // What is no text before a text of the same width is none of it.
        let (none, width) = (BASE64.encode([0xff; 24]), 32);
        let [_, text] = lines(&BASE64.encode(&long), width);
        assert_eq!(texts(&format!("{none}\n{text}")), [long]);
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

    /// What `each` tells of runs, found byte by byte and decoded whole.
    fn slowly(bytes: &[u8], from: usize, to: usize) -> Vec<(Range<usize>, Vec<u8>)> {
        let letter =
            |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte));
        let base64 = |run: &[u8]| [BASE64, BASE64_URL].iter().find_map(|engine| engine.decode(run).ok());
        let hex = |run: &[u8]| -> Option<Vec<u8>> {
            let pairs = run.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
            pairs.collect::<Option<_>>().filter(|text: &Vec<u8>| text[..8].is_ascii() && is_plain(&text[..8]))
        };
        let text = |run: &[u8]| {
            let even = run.len().is_multiple_of(2).then(|| hex(run)).flatten().filter(|text| is_text(text));
            even.or_else(|| base64(&run[..run.len() - usize::from(run.len() % 4 == 1)]).filter(|text| is_text(text)))
        };
        let (mut all, mut at, mut apart) = (Vec::new(), from, from);
        while at < to && from > 0 && letter(from - 1) && letter(at) {
            at += 1;
        }
        while at < to.min(bytes.len()) {
            let end = (at..=bytes.len()).find(|end| !letter(*end)).unwrap();
            let run = &bytes[at..end];
            if run.len() >= SHORTEST {
                let begins = hex(&run[..SAMPLE]).is_some()
                    || base64(&run[..run.len() / 4 * 4]).is_some_and(|all| is_text(&all[..12]));
                let lines = (at >= apart && begins).then(|| joined(bytes, at, end)).flatten();
                apart = lines.as_ref().map_or(apart, |(last, _)| *last);
                if let Some((last, text)) = lines.and_then(|(last, whole)| Some((last, text(&whole)?))) {
                    all.push((at..last, text));
                    at = last;
                    continue;
                }
                all.extend(text(run).map(|text| (at..end, text)));
            }
            at = end.max(at + 1);
        }
        all
    }

    /// Texts and other bytes, each encoded one way or another, in lines of some width, between words.
    fn parts() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        use proptest::prelude::*;
        let plain = prop_oneof![
            "[a-z =\n\u{e9}\u{20ac}]{12,120}".prop_map(String::into_bytes),
            "[a-z]{12,24}[\x00-\x7f]{0,40}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 12..90),
        ];
        let encoded = (plain, 0..4, prop_oneof![Just(1000), 6usize..30]).prop_map(|(plain, how, width)| {
            let text = match how {
                0 => BASE64.encode(&plain),
                1 => BASE64_URL.encode(&plain),
                2 => BASE64.encode(&plain).trim_end_matches('=').to_owned(),
                _ => plain.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")),
            };
            text.as_bytes().chunks(width * 4).collect::<Vec<_>>().join(&b"\n  "[..])
        });
        let words = "[a-z+/_-]{0,40}|[ .=\"\n]{1,4}|sha256-".prop_map(String::into_bytes);
        proptest::collection::vec(prop_oneof![encoded, words], 0..12).prop_map(|all| all.concat())
    }

    proptest::proptest! {
        #[test]
        fn what_is_passed_over_is_no_text(bytes in parts(), from in 0usize..100, length in 0usize..2000) {
            let (from, to) = (from.min(bytes.len()), bytes.len().min(from + length));
            let mut all = Vec::new();
            each(&bytes, from, to, |range, text| all.push((range, text)));
            proptest::prop_assert_eq!(all, slowly(&bytes, from, to));
        }

        #[test]
        fn nothing_ends_it_and_places_are_in_the_text(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0usize..200) {
            each(&bytes, cut.min(bytes.len()), bytes.len(), |range, _| assert!(range.end <= bytes.len()));
        }
    }
}
