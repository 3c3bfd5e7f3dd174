//! Values assigned to a telling name: `password = "…"`, `token: …`, `--api-key …`, and passwords in URLs.

use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::domain::foreign::holds;
use crate::domain::scan::charset::{Alphabet, Around, line, mentions, run};
use crate::domain::scan::entropy::{Called, looks_secret, placeholder, reference};
use crate::domain::scan::rule::Search;

/// The maximum length of a value.
const LONGEST: usize = 512;

/// The search functions, by rule name.
pub(super) const BY_CODE: &[(&str, Search)] = &[
    ("gitea-token", gitea),
    ("runner-registration-token", runner),
    ("url-password", address),
    ("assigned-password", password),
    ("assigned-secret", secret),
    ("authorization-header", header),
    ("netrc-password", netrc),
];

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Parts of a name that make it the name of something else: `tokenFile`, `password_length`.
const OTHER: [&str; 48] = [
    "file",
    "path",
    "dir",
    "url",
    "uri",
    "name",
    "type",
    "length",
    "policy",
    "command",
    "cmd",
    "expir",
    "ttl",
    "algorithm",
    "hint",
    "field",
    "label",
    "header",
    "prefix",
    "regex",
    "env",
    "var",
    "ref",
    "id",
    "hash",
    "eval",
    "program",
    "enable",
    "auth",
    "min",
    "max",
    "class",
    "input",
    "reset",
    "prompt",
    "required",
    "version",
    "format",
    "size",
    "count",
    "limit",
    "mode",
    "store",
    "manager",
    "endpoint",
    "scope",
    "user",
    "pub",
];

/// Whether a name still means a secret with what follows its keyword: nothing, a number, or words that are not in
/// `OTHER`.
fn still(rest: &[u8]) -> bool {
    let rest: Vec<u8> = rest.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
    let other = |word: &&str| holds(&rest, word.as_bytes());
    rest.len() <= 24 && !OTHER.iter().any(other)
}

/// The value assigned to a name with a keyword of `start` bytes at `at`: quoted, or unquoted where that is usual.
pub(super) fn given(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let byte = |at: usize| text.get(at).copied();
    let mut here = at + start;
    let rest = text.get(here..)?.iter().take(32).take_while(|byte| is_word(**byte)).count();
    let ending = &text[here..here + rest];
    // `tokenizer` is not a token: another word in a name begins with a capital letter, `_`, `-` or a digit.
    if ending
        .first()
        .is_some_and(|first| first.is_ascii_lowercase() && text[at + start - 1].is_ascii_lowercase() && ending != b"s")
        || !still(ending)
    {
        return None;
    }
    here += rest;
    let name = text.get(at.saturating_sub(64)..at)?.iter().rev().take_while(|byte| is_word(**byte)).count();
    let option = text[at - name..at].starts_with(b"--");
    if let Some(b'"' | b'\'' | b'`') = byte(here) {
        here += 1;
    }
    let blank = |mut here: usize, most: usize, lines: bool| {
        let end = here + most;
        while here < end && byte(here).is_some_and(|byte| byte == b' ' || byte == b'\t' || (lines && byte == b'\n')) {
            here += 1;
        }
        here
    };
    let before = here;
    here = blank(here, 16, false);
    let spaced = here > before;
    let signs = text.get(here..)?.iter().take(3).take_while(|byte| b"=:>?|".contains(*byte)).count();
    if signs == 0 && !(option && spaced) {
        return None;
    }
    let colon = byte(here) == Some(b':');
    here += signs;
    let tight = here;
    here = blank(here, 24, true);
    quoted(text, here).or_else(|| {
        // Unquoted values: `key=value` and `key: value` in configuration, and after an option anywhere.
        let usual = option || (around.bare && (colon || tight == here || spaced));
        let same_line = !text[tight..here].contains(&b'\n');
        (usual && same_line).then(|| bare(text, here)).flatten()
    })
}

/// A quoted string without its quotes: on one line, and of limited length.
fn quoted(text: &[u8], at: usize) -> Option<Range<usize>> {
    // `\"` is a quote inside a quoted text.
    let escaped = text.get(at) == Some(&b'\\');
    let at = at + usize::from(escaped);
    let quote = *text.get(at).filter(|byte| b"\"'`".contains(byte))?;
    let start = at + if quote == b'\'' && text.get(at + 1) == Some(&b'\'') { 2 } else { 1 };
    let rest = text.get(start..text.len().min(start + LONGEST + 2))?;
    let end = rest.iter().position(|byte| *byte == quote || *byte == b'\n')?;
    let end = end - usize::from(escaped && end > 0 && rest[end - 1] == b'\\');
    (rest[end] == quote || escaped).then_some(start..start + end)
}

fn bare(text: &[u8], at: usize) -> Option<Range<usize>> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`;,#()[]{}<>&|".contains(byte);
    let rest = text.get(at..text.len().min(at + LONGEST + 1))?;
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    // A call or lookup is code. Only a name can precede its bracket.
    let word = |byte: &u8| byte.is_ascii_alphabetic() || b"_.$".contains(byte);
    let code =
        rest.get(end).is_some_and(|byte| *byte == b'<' || (b"([{".contains(byte) && rest[..end].iter().all(word)));
    (end > 0 && end <= LONGEST && !code && rest[0] != b'-').then_some(at..at + end)
}

fn password(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let value = given(around, at, start)?;
    let value = with_signs(around, &value).unwrap_or(value);
    looks_secret(&around.bytes[value.clone()], Called::Password).then_some(value)
}

/// An unquoted password up to its end: passwords may contain some of the characters that end other unquoted values.
fn with_signs(around: Around<'_>, value: &Range<usize>) -> Option<Range<usize>> {
    let text = around.bytes;
    let bare = around.bare
        && value.start.checked_sub(1).and_then(|before| text.get(before)).is_none_or(|byte| !b"\"'`".contains(byte));
    let signs = |byte: &&u8| byte.is_ascii_graphic() && !b"\"'`\\<>$".contains(byte);
    let rest = text.get(value.end..text.len().min(value.start + LONGEST)).filter(|_| bare)?;
    let more = rest.iter().take_while(signs).count();
    let more = more - rest[..more].iter().rev().take_while(|byte| b",;)]}|&".contains(byte)).count();
    // The next entry of a list: `password=x,uid=1000`, `a=1&b=2`.
    let list = rest[..more].iter().any(|byte| b"=:".contains(byte));
    let ends = rest.get(more).is_none_or(|byte| byte.is_ascii_whitespace() || b"\"'`,;)]}|&".contains(byte));
    (more > 0 && ends && !list).then(|| value.start..value.end + more)
}

/// `Authorization: token …`, in any context.
fn header(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let from = at + start;
    let skip = |from: usize, bytes: &[u8]| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.iter().take(8).take_while(|byte| bytes.contains(byte)).count()
    };
    let sign = skip(from, b"\"'` ]\\");
    let mut scheme = skip(sign, b":=, \"'`\\");
    // A string prefix as in Python.
    if text.get(scheme).is_some_and(|byte| b"fbr".contains(byte))
        && text.get(scheme + 1).is_some_and(|byte| b"\"'".contains(byte))
    {
        scheme += 2;
    }
    if !text.get(sign..scheme)?.iter().any(|byte| b":=,".contains(byte)) {
        return None;
    }
    let kind = text.get(scheme..)?.iter().take(12).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let known = [&b"token"[..], b"bearer"].iter().any(|known| text[scheme..scheme + kind].eq_ignore_ascii_case(known));
    let begin = skip(scheme + kind, b" =\"'");
    let length = run(text, begin, Alphabet::Dotted, LONGEST);
    let value = begin..begin + length;
    if text[scheme..scheme + kind].eq_ignore_ascii_case(b"basic") {
        return basic(text, begin).filter(|_| begin > scheme + kind);
    }
    (known && begin > scheme + kind && looks_secret(text.get(value.clone())?, Called::Token)).then_some(value)
}

/// `user:password` in base64, as in HTTP basic authentication.
fn basic(text: &[u8], at: usize) -> Option<Range<usize>> {
    let value = at..at + run(text, at, Alphabet::Base64, LONGEST);
    let pair = BASE64_STANDARD.decode(text.get(value.clone())?).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    looks_secret(&pair[colon + 1..], Called::Password).then_some(value)
}

fn secret(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let value = given(around, at, start)?;
    looks_secret(&around.bytes[value.clone()], Called::Token).then_some(value)
}

fn gitea(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let value = given(around, at, start)?;
    let made = value.len() == 40
        && text[value.clone()].iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    let line = line(text, at, 200);
    (made && !placeholder(&text[value.clone()]) && (mentions(line, "gitea") || mentions(line, "forgejo")))
        .then_some(value)
}

fn runner(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let value = given(around, at, start)?;
    let line = line(around.bytes, at, 200);
    let told = ["runner", "registration"].iter().any(|word| mentions(line, word));
    (told && looks_secret(&around.bytes[value.clone()], Called::Token)).then_some(value)
}

/// `scheme://user:password@host`.
fn address(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    at.checked_sub(1).filter(|before| text[*before].is_ascii_alphanumeric())?;
    let rest = text.get(at + start..text.len().min(at + start + 300))?;
    let ends = |byte: &u8| {
        byte.is_ascii_whitespace()
            || matches!(byte, b'/' | b'"' | b'\'' | b'`' | b'<' | b'>' | b',' | b';' | b')' | b']')
    };
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let credentials = rest[..end].iter().rposition(|byte| *byte == b'@')?;
    let colon = rest[..credentials].iter().position(|byte| *byte == b':')?;
    let password = &rest[colon + 1..credentials];
    let host = &rest[credentials + 1..end];
    let known = [&b"postgres"[..], b"admin", b"root", b"guest", b"user", b"pass", b"pwd", b"test"];
    let real = (6..=200).contains(&password.len())
        && password.iter().all(u8::is_ascii_graphic)
        && !placeholder(password)
        && !reference(password)
        && !password.contains(&b'$')
        && !known.contains(&password)
        && host.first().is_some_and(u8::is_ascii_alphanumeric)
        && !mentions(host, "example.");
    real.then_some(at + start + colon + 1..at + start + credentials)
}

fn netrc(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let machine = text.get(at.saturating_sub(200)..at)?;
    let end = text.len().min(at + start + 300);
    // The next word from a position on.
    let word = |from: usize| {
        let blank = text.get(from..end)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let begin = from + blank;
        let length = text.get(begin..end)?.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
        (length > 0).then_some(begin..begin + length)
    };
    let user = word(at + start)?;
    let keyword = word(user.end)?;
    let value = word(keyword.end)?;
    let told = mentions(machine, "machine ") && text[keyword] == *b"password";
    (told && looks_secret(&text[value.clone()], Called::Password)).then_some(value)
}
