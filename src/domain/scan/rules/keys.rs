//! Private keys and password hashes, recognized by their format.

use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::domain::scan::charset::{Alphabet, Around, begins, exactly, line, mentions, run};
use crate::domain::scan::entropy::stand_in;
use crate::domain::scan::rule::Search;
use crate::domain::scan::rules::assigned::given;

/// The search functions, by rule name.
pub(super) const BY_CODE: &[(&str, Search)] = &[
    ("openssh-private-key", block),
    ("pem-private-key", block),
    ("pgp-private-key", block),
    ("wireguard-key", wireguard),
    ("nix-signing-key", nix_key),
    ("tor-service-key", tor),
    ("password-hash", crypt),
];

/// A block between BEGIN and END lines: at least 40 bytes of base64 soon after the BEGIN line.
fn block(around: Around<'_>, at: usize, _: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let rest = text.get(at..text.len().min(at + 600))?;
    // The BEGIN line ends with dashes, followed by line ends (or escaped ones), white space, and header lines.
    let dashes = rest.get(11..)?.windows(5).position(|five| five == b"-----")? + 16;
    let mut here = dashes;
    for _ in 0..6 {
        loop {
            match (rest.get(here), rest.get(here + 1)) {
                (Some(byte), _) if byte.is_ascii_whitespace() || b"\"'+,".contains(byte) => here += 1,
                (Some(b'\\'), Some(b'n' | b'r')) => here += 2,
                _ => break,
            }
        }
        if here == dashes {
            return None;
        }
        let body = run(rest, here, Alphabet::Base64, 200);
        if body >= 40 && !stand_in(&rest[here..here + body]) {
            return (!in_hardware(&rest[here..])).then_some(at..at + here + body);
        }
        // A header such as `Proc-Type: 4,ENCRYPTED`.
        let end = rest.get(here..)?.iter().position(|byte| *byte == b'\n' || *byte == b'\\')?;
        if !rest[here..here + end].contains(&b':') {
            return None;
        }
        here += end;
    }
    None
}

/// Whether the body of an OpenSSH key is only a handle for a key in hardware (FIDO), useless without the device. This
/// is decided by the type of its public key, which precedes the private one and is never encrypted.
fn in_hardware(body: &[u8]) -> bool {
    let mut letters = Vec::with_capacity(300);
    let mut rest = body.iter().copied();
    while let Some(byte) = rest.next().filter(|_| letters.len() < 300) {
        match byte {
            // An escaped line end in a quoted text.
            b'\\' => drop(rest.next()),
            byte if byte.is_ascii_whitespace() => {}
            byte if Alphabet::Base64.has(byte) && byte != b'=' => letters.push(byte),
            _ => break,
        }
    }
    letters.truncate(letters.len() / 4 * 4);
    let Ok(bytes) = BASE64_STANDARD.decode(letters) else { return false };
    let Some(mut rest) = bytes.strip_prefix(b"openssh-key-v1\0") else { return false };
    let mut text = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (text, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        rest = after;
        Some(text)
    };
    // Cipher, key derivation and its options; then the number of keys, and the first public key.
    let (Some(_), Some(_), Some(_)) = (text(), text(), text()) else { return false };
    rest.get(8..12)
        .and_then(|length| Some((u32::from_be_bytes(length.try_into().ok()?), rest.get(12..)?)))
        .and_then(|(length, kind)| kind.get(..usize::try_from(length).ok()?))
        .is_some_and(|kind| kind.starts_with(b"sk-") && rest.starts_with(&[0, 0, 0, 1]))
}

/// 32 bytes in base64, with a valid last character.
fn wireguard(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let value = given(around, at, start)?;
    let text = &around.bytes[value.clone()];
    let key = text.len() == 44
        && text.ends_with(b"=")
        && text[..43].iter().all(|byte| Alphabet::Base64.has(*byte) && *byte != b'=')
        && b"AEIMQUYcgkosw048".contains(&text[42]);
    (key && !stand_in(text)).then_some(value)
}

fn nix_key(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let named = at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(u8::is_ascii_alphanumeric);
    let key = exactly(text, at + start, Alphabet::Base64, &(88..=88))?;
    (named && text[key.clone()].ends_with(b"==") && !stand_in(&text[key.clone()])).then_some(key)
}

fn tor(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    (text.get(at + start..at + start + 3) == Some(b"\0\0\0")).then(|| at..text.len().min(at + start + 67))
}

/// A hash in the format of crypt(3): method, settings and salt, hash.
fn crypt(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    if !begins(text, at) && !mentions(line(text, at, 200), "password") {
        return None;
    }
    // An example in an option, a comment or a document.
    let before = line(text, at, 200);
    if ["example =", "example:", "e.g.", "literalexample", "literalexpression"]
        .iter()
        .any(|word| mentions(before, word))
    {
        return None;
    }
    let rest = text.get(at..text.len().min(at + 400))?;
    let length =
        rest.get(start..)?.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"./$=,+".contains(byte)).count();
    let whole = &rest[..start + length];
    let last = whole.rsplit(|byte| *byte == b'$').next()?.len();
    let fits = match &rest[..start] {
        b"$6$" => last == 86,
        b"$1$" | b"$apr1$" => last == 22,
        b"$2a$" | b"$2b$" | b"$2y$" => last == 53,
        b"$argon2" => last >= 22 && mentions(whole, "$m="),
        _ => last == 43,
    };
    (fits && !stand_in(&whole[whole.len() - last..])).then(|| at..at + whole.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scan::engine::Engine;
    use crate::domain::scan::subject::Subject;

    #[test]
    fn a_handle_to_a_key_in_hardware_is_no_key_and_a_comment_makes_none() {
        let text = |words: &[&[u8]]| {
            words
                .iter()
                .flat_map(|word| [&u32::try_from(word.len()).unwrap().to_be_bytes()[..], word].concat())
                .collect::<Vec<u8>>()
        };
        let key = |kind: &[u8], comment: &[u8]| {
            let public = [text(&[kind]), vec![7; 40]].concat();
            let body = [
                b"openssh-key-v1\0",
                &text(&[b"none", b"none", b""])[..],
                &[0, 0, 0, 1],
                &text(&[&public]),
                comment,
                &[7, 99, 4, 200, 31, 8].repeat(20),
            ]
            .concat();
            let lines: Vec<String> = BASE64_STANDARD
                .encode(body)
                .as_bytes()
                .chunks(70)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            let (begin, end) = ("-----BEGIN OPENSSH PRIVATE", "KEY-----");
            [format!("{begin} {end}\n{}\n", lines.join("\n")), format!("{begin} {end}\\n{}\\n", lines.join("\\n"))]
        };
        let found = |text: &str| !Engine::new(None).whole(&Subject::named(b"a"), text.as_bytes()).is_empty();
        for kind in [&b"sk-ssh-ed25519@openssh.com"[..], b"sk-ecdsa-sha2-nistp256@openssh.com"] {
            assert!(key(kind, b"").iter().all(|text| !found(text)));
        }
        assert!(key(b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com").iter().all(|text| found(text)));
    }
}
