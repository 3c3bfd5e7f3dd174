//! Decodes text that is escaped or a list of bytes, as programs print quoted values: the inverse of `written`. Every
//! buffer here is wiped.

use zeroize::Zeroizing;

use crate::domain::secret::written::Unit;

/// The minimum number of consecutive bytes that are taken for a list.
const LIST: usize = 6;

type Reading = fn(&[u8]) -> Option<Vec<u8>>;

/// Decoders of escapes, which can be nested, as in JSON in JSON.
const ESCAPES: [Reading; 4] = [backslashes, percents, entities, plus];
const OTHERS: [Reading; 4] = [equals, doubled, hexadecimal, decimal];

/// All other readings of a text.
pub fn readings(text: &[u8]) -> Vec<Unit> {
    let read = |text: &[u8], by: &[Reading]| -> Vec<Unit> {
        by.iter().filter_map(|reading| reading(text)).map(Zeroizing::new).collect()
    };
    let mut all = read(text, &ESCAPES);
    let inner: Vec<Unit> = all.iter().flat_map(|outer| read(outer, &ESCAPES)).collect();
    all.extend(inner);
    all.extend(read(text, &OTHERS));
    all
}

/// What an escape stands for.
enum Meant {
    Byte(u8),
    Character(char),
}

/// Replaces every escape in a text; `None` if there is none. `escape` gets the text from `sign` on, and returns what
/// the escape stands for and its length.
fn replaced(text: &[u8], sign: u8, escape: impl Fn(&[u8]) -> Option<(Meant, usize)>) -> Option<Vec<u8>> {
    let mut rest = text;
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut found = false;
    while let Some(at) = rest.iter().position(|byte| *byte == sign) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        let length = match escape(from) {
            Some((Meant::Byte(byte), length)) => {
                out.push(byte);
                length
            }
            Some((Meant::Character(character), length)) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                length
            }
            None => 0,
        };
        found |= length > 0;
        if length == 0 {
            out.push(sign);
        }
        rest = from.get(length.max(1)..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    found.then(|| std::mem::take(&mut *out))
}

/// Parses digits as a number.
fn number(text: &[u8], radix: u32) -> Option<u32> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
    u32::from_str_radix(text, radix).ok()
}

/// Parses two hexadecimal digits as a byte.
fn byte(digits: &[u8]) -> Option<u8> {
    number(digits, 16).and_then(|byte| u8::try_from(byte).ok())
}

/// `\n`, `\"`, `\x41`, `\101`, `\u0041`, `\U00000041`, `\u{41}`: C, JSON, Go, Python, Rust, the shell, systemd.
fn backslashes(text: &[u8]) -> Option<Vec<u8>> {
    replaced(text, b'\\', |from| match from.get(1)? {
        b'n' => Some((Meant::Byte(b'\n'), 2)),
        b't' => Some((Meant::Byte(b'\t'), 2)),
        b'r' => Some((Meant::Byte(b'\r'), 2)),
        b'a' => Some((Meant::Byte(7), 2)),
        b'b' => Some((Meant::Byte(8), 2)),
        b'v' => Some((Meant::Byte(11), 2)),
        b'f' => Some((Meant::Byte(12), 2)),
        b'e' => Some((Meant::Byte(27), 2)),
        b'x' => Some((Meant::Byte(byte(from.get(2..4)?)?), 4)),
        b'u' if from.get(2) == Some(&b'{') => {
            let digits = from.get(3..)?.iter().take(8).position(|byte| *byte == b'}')?;
            Some((Meant::Character(char::from_u32(number(from.get(3..3 + digits)?, 16)?)?), digits + 4))
        }
        b'u' => {
            let code = number(from.get(2..6)?, 16)?;
            let low = from.get(6..12).filter(|next| next.starts_with(b"\\u")).and_then(|next| number(&next[2..], 16));
            Some(match (code, low) {
                (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                    (Meant::Character(char::from_u32(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00))?), 12)
                }
                _ => (Meant::Character(char::from_u32(code)?), 6),
            })
        }
        b'U' => Some((Meant::Character(char::from_u32(number(from.get(2..10)?, 16)?)?), 10)),
        b'0'..=b'7' => {
            let digits = from.iter().skip(1).take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            Some((Meant::Byte(u8::try_from(number(from.get(1..=digits)?, 8)?).ok()?), digits + 1))
        }
        other => Some((Meant::Byte(*other), 2)),
    })
}

/// `%41`: URLs and forms.
fn percents(text: &[u8]) -> Option<Vec<u8>> {
    replaced(text, b'%', |from| Some((Meant::Byte(byte(from.get(1..3)?)?), 3)))
}

/// `+` for a space: forms.
fn plus(text: &[u8]) -> Option<Vec<u8>> {
    replaced(text, b'+', |_| Some((Meant::Byte(b' '), 1)))
}

/// `=41`: quoted-printable.
fn equals(text: &[u8]) -> Option<Vec<u8>> {
    replaced(text, b'=', |from| Some((Meant::Byte(byte(from.get(1..3)?)?), 3)))
}

/// `&quot;`, `&#34;`, `&#x22;`: HTML and XML.
fn entities(text: &[u8]) -> Option<Vec<u8>> {
    const NAMED: [(&[u8], u8); 5] = [(b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"quot", b'"'), (b"apos", b'\'')];
    replaced(text, b'&', |from| {
        let end = from.iter().take(12).position(|byte| *byte == b';')?;
        match from.get(1..end)? {
            [b'#', b'x' | b'X', digits @ ..] => Some((Meant::Character(char::from_u32(number(digits, 16)?)?), end + 1)),
            [b'#', digits @ ..] => Some((Meant::Character(char::from_u32(number(digits, 10)?)?), end + 1)),
            name => Some((Meant::Byte(NAMED.iter().find(|(known, _)| *known == name)?.1), end + 1)),
        }
    })
}

/// Doubled quotes: SQL, CSV, YAML.
fn doubled(text: &[u8]) -> Option<Vec<u8>> {
    let double =
        |sign: u8| move |from: &[u8]| from.get(1).filter(|next| **next == sign).map(|_| (Meant::Byte(sign), 2));
    let single = replaced(text, b'\'', double(b'\''));
    let both = replaced(single.as_deref().unwrap_or(text), b'"', double(b'"'));
    match (both, single) {
        (Some(both), single) => {
            drop(single.map(Zeroizing::new));
            Some(both)
        }
        (None, single) => single,
    }
}

/// `68 75 6e`, `68:75:6e`, `0x68, 0x75`, `6875 6e74`.
fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    list(text, |word, out| {
        let digits = word.strip_prefix(b"0x").unwrap_or(word);
        let pairs = digits.chunks_exact(2);
        let whole = !digits.is_empty() && pairs.remainder().is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        if whole {
            out.extend(pairs.filter_map(byte));
        }
        whole
    })
}

/// `[104 117 110]`, `[104, 117, 110]`: bytes as Go and Rust print them.
fn decimal(text: &[u8]) -> Option<Vec<u8>> {
    list(text, |word, out| {
        let byte = Some(word).filter(|word| word.len() <= 3 && word.iter().all(u8::is_ascii_digit));
        let byte = byte.and_then(|word| u8::try_from(number(word, 10)?).ok());
        out.extend(byte);
        byte.is_some()
    })
}

/// The lists of bytes in a text, joined by newlines. `add` appends the bytes that a word stands for, and returns
/// whether the word can be part of a list.
fn list(text: &[u8], add: impl Fn(&[u8], &mut Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    let (mut begun, mut found) = (0, false);
    for word in text.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if !add(word, &mut out) {
            if out.len() - begun < LIST {
                out.truncate(begun);
            } else {
                found = true;
                out.push(b'\n');
            }
            begun = out.len();
        }
    }
    (found || out.len() - begun >= LIST).then(|| std::mem::take(&mut *out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_read() {
        for (text, meant) in [
            (r#"\"a\\b\/\n\x41\101\u0041\u{e9}\U0001F600\ud83d\ude00"#, "\"a\\b/\nAAAé😀😀"),
            ("a%20b%2Fc", "a b/c"),
            ("&lt;&amp;&#39;&#x27;&quot;", "<&''\""),
            ("pa=C3=A9=3D", "paé="),
            ("it''s \"\"x\"\"", "it's \"x\""),
            (r#"{\"a\":\"b\\u0026c\"}"#, r#"{"a":"b&c"}"#),
            ("a%2520b+c", "a b+c"),
            ("a+b%26c", "a b&c"),
            ("is [104 117 110 116 101 114]", "hunter"),
            ("is [104, 117, 110, 116, 101, 114]", "hunter"),
            ("68:75:6e:74:65:72", "hunter"),
            ("0x68, 0x75, 0x6E, 0x74, 0x65, 0x72", "hunter"),
            ("6875 6e74 6572", "hunter"),
        ] {
            assert!(readings(text.as_bytes()).iter().any(|read| &***read == meant.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_not_escaped_reads_as_it_is() {
        for text in [
            "",
            "plain words",
            "100% & more",
            "a = b",
            "\\",
            "\\u12",
            "\\u{",
            "\\xg",
            "%",
            "&;",
            "&#;",
            "10.0.0.1",
            "12:30:59",
        ] {
            for read in readings(text.as_bytes()) {
                assert!(read.len() <= text.len(), "{text}");
            }
        }
        assert!(readings(b"plain words").is_empty());
    }
}
