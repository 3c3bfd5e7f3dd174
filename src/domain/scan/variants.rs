//! The texts to search for a value: the value itself, and the parts of it that are secret. Nothing that also occurs in
//! public halves is among them. Every buffer here is wiped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::scan::entropy::{Called, looks_secret};
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::written::{Unit, written};

/// The shortest text that is searched for: shorter ones occur everywhere.
pub const SHORTEST: usize = 8;

/// The collected texts to search for.
#[derive(Default)]
pub struct Gathered {
    texts: Vec<(u32, Zeroizing<Vec<u8>>)>,
}

impl Gathered {
    /// Adds a value. Returns false if it is too short to be searched for.
    pub fn add(&mut self, secret: u32, value: &Plaintext) -> bool {
        value.expose(|bytes| {
            let units = units(bytes);
            for unit in &units {
                self.texts.extend(written(unit, SHORTEST).into_iter().map(|form| (secret, form)));
            }
            !units.is_empty()
        })
    }

    /// Removes duplicates; a text of several secrets is kept for the first.
    pub(super) fn distinct(self) -> Vec<(u32, Zeroizing<Vec<u8>>)> {
        let mut texts = self.texts;
        texts.sort_by(|(a, left), (b, right)| left.as_slice().cmp(right.as_slice()).then(a.cmp(b)));
        texts.dedup_by(|(_, later), (_, first)| later == first);
        texts
    }
}

/// The parts of a value that are secret by themselves. Empty if all of them are too short.
fn units(value: &[u8]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut add = |part: &[u8]| {
        let part = part.trim_ascii();
        if part.len() >= SHORTEST && !units.iter().any(|known| ***known == *part) {
            units.push(Zeroizing::new(part.to_vec()));
        }
    };
    let trimmed = value.trim_ascii();
    if let Some(lines) = private_lines(trimmed) {
        // All keys begin with the same bytes, so the lines of its private part are used instead.
        lines.into_iter().for_each(&mut add);
        return units;
    }
    add(trimmed);
    // `KEY=value`, with and without quotes: the value alone may leak. Of several values, those that are not URLs or
    // names.
    let assigned: Vec<&[u8]> = trimmed.split(|byte| *byte == b'\n').filter_map(assigned).collect();
    for value in &assigned {
        if assigned.len() == 1
            || looks_secret(unquoted(value), Called::Password)
            || looks_secret(unquoted(value), Called::Token)
        {
            add(value);
            add(unquoted(value));
        }
    }
    let several = trimmed.contains(&b'\n') || trimmed.first().is_some_and(|byte| b"{[".contains(byte));
    if several {
        // Lines and quoted strings that are as random as a token: in an indented string, lines begin differently.
        for part in trimmed.split(|byte| *byte == b'\n' || *byte == b'"') {
            let part = part.trim_ascii();
            if part.len() >= 16 && looks_secret(part, Called::Token) {
                add(part);
            }
        }
    }
    units
}

/// The value that a line assigns to a variable.
fn assigned(line: &[u8]) -> Option<&[u8]> {
    let at = line.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let name = line[..at].strip_prefix(b"export ").unwrap_or(&line[..at]);
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').then(|| line[at + 1..].trim_ascii())
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        other => other,
    }
}

/// The secret lines of a private key; `None` if the value is not a key.
fn private_lines(value: &[u8]) -> Option<Vec<&[u8]>> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.starts_with("-----BEGIN ") || !text.get(..80.min(text.len()))?.contains("PRIVATE KEY") {
        return text
            .lines()
            .find(|line| line.starts_with(concat!("AGE-SECRET", "-KEY-")))
            .map(|line| vec![line.as_bytes()]);
    }
    let body: Vec<&str> = text
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains(':') && !line.starts_with('='))
        .collect();
    let long = |line: &&&str| line.len() >= 20;
    let lines: Vec<&str> = if text.starts_with(concat!("-----BEGIN ", "OPENSSH")) {
        openssh(&body)
    } else if body.len() < 12 {
        // The private number comes first, and the public point last.
        body.iter().take(1).copied().collect()
    } else {
        // In an RSA key, the modulus comes first and is public.
        body.iter().skip(body.len() / 2).filter(long).copied().collect()
    };
    Some(lines.into_iter().map(str::as_bytes).collect())
}

/// The lines of an OpenSSH key that lie completely after its public part, which occurs twice.
fn openssh<'a>(body: &[&'a str]) -> Vec<&'a str> {
    let whole: Zeroizing<String> = Zeroizing::new(body.concat());
    let Ok(blob) = STANDARD_NO_PAD.decode(whole.trim_end_matches('=')).map(Zeroizing::new) else { return Vec::new() };
    let word = |at: usize| Some(u32::from_be_bytes(blob.get(at..at + 4)?.try_into().ok()?) as usize);
    let skip = |at: usize| Some(at + 4 + word(at)?);
    let secret_from = || {
        // Magic, cipher, KDF and its options; then the number of keys.
        let public = skip(skip(skip(15)?)?)? + 4;
        let private = skip(public)?;
        let encrypted = blob.get(19..23) != Some(b"none");
        if encrypted {
            return Some(private + 4);
        }
        // Two check numbers and the type; then the public part again, as long as in the public key.
        let of_type = 4 + word(private + 12)?;
        let public_numbers = word(public)?.checked_sub(of_type)?;
        Some(private + 12 + of_type + public_numbers)
    };
    let Some(secret) = secret_from() else { return Vec::new() };
    let mut at = 0;
    let mut lines = Vec::new();
    for line in body {
        if at >= secret * 8 / 6 && line.len() >= 20 {
            lines.push(*line);
        }
        at += line.len();
    }
    if lines.is_empty() {
        // A short key: the line in which the secret part begins.
        let mut at = 0;
        for line in body {
            if at + line.len() > secret * 8 / 6 + 20 {
                lines.push(*line);
                break;
            }
            at += line.len();
        }
    }
    lines
}
