//! Tokens that services issue. Here are the search functions for forms that a row of the table cannot describe.

use std::ops::Range;

use crate::domain::scan::charset::{Alphabet, Around, begins, exactly, run};
use crate::domain::scan::entropy::{entropy, stand_in};
use crate::domain::scan::rule::Search;
use crate::domain::scan::rules::assigned::given;

/// The search functions, by rule name.
pub(super) const BY_CODE: &[(&str, Search)] = &[
    ("aws-secret-key", aws_secret),
    ("azure-storage-key", azure),
    ("jwt", jwt),
    ("cloudflare-token", cloudflare),
    ("cloudflare-origin-key", origin_key),
    ("slack-webhook", slack_hook),
    ("discord-webhook", discord_hook),
    ("telegram-bot-token", telegram),
    ("sendgrid-key", sendgrid),
    ("terraform-token", terraform),
    ("grafana-token", grafana),
    ("matrix-token", matrix),
];

/// A value assigned to a telling name, if it has this length and alphabet and is random enough.
fn named(around: Around<'_>, at: usize, start: usize, alphabet: Alphabet, length: usize) -> Option<Range<usize>> {
    let value = given(around, at, start)?;
    let text = &around.bytes[value.clone()];
    let fits = text.len() == length && text.iter().all(|byte| alphabet.has(*byte));
    (fits && entropy(text) >= 3.5 && text.iter().any(u8::is_ascii_digit) && !stand_in(text)).then_some(value)
}

fn aws_secret(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    named(around, at, start, Alphabet::Base64, 40)
}

fn cloudflare(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    named(around, at, start, Alphabet::Url, 40)
}

fn azure(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    exactly(around.bytes, at + start, Alphabet::Base64, &(88..=88))
}

/// Several runs of alphabets, separated by one byte.
fn parts(text: &[u8], mut at: usize, between: u8, forms: &[(Alphabet, usize, usize)]) -> Option<Range<usize>> {
    let start = at;
    for (number, (alphabet, least, most)) in forms.iter().enumerate() {
        if number > 0 {
            at = (text.get(at) == Some(&between)).then_some(at + 1)?;
        }
        at = exactly(text, at, *alphabet, &(*least..=*most))?.end;
    }
    (!stand_in(&text[start..at])).then_some(start..at)
}

fn jwt(around: Around<'_>, at: usize, _: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let claims = at + run(text, at, Alphabet::Url, 400);
    if !begins(text, at) || !text.get(claims..)?.starts_with(b".eyJ") {
        return None;
    }
    let forms = [(Alphabet::Url, 16, 400), (Alphabet::Url, 8, 1600), (Alphabet::Url, 20, 700)];
    parts(text, at, b'.', &forms)
}

fn origin_key(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    parts(around.bytes, at + start, b'-', &[(Alphabet::Hex, 24, 24), (Alphabet::Hex, 146, 146)])
}

fn slack_hook(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let forms = [(Alphabet::Alnum, 8, 14), (Alphabet::Alnum, 8, 14), (Alphabet::Alnum, 20, 30)];
    parts(around.bytes, at + start, b'/', &forms)
}

fn discord_hook(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    parts(around.bytes, at + start, b'/', &[(Alphabet::Hex, 17, 20), (Alphabet::Url, 60, 90)])
}

fn telegram(around: Around<'_>, at: usize, _: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let before = text.get(at.saturating_sub(11)..at)?;
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let token = exactly(text, at + 1, Alphabet::Url, &(35..=35))?;
    (8..=10).contains(&digits).then_some(at - digits..token.end)
}

fn sendgrid(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let forms = [(Alphabet::Url, 22, 22), (Alphabet::Url, 43, 43)];
    begins(around.bytes, at).then(|| parts(around.bytes, at + start, b'.', &forms))?
}

fn terraform(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let before = at.checked_sub(14).filter(|before| text[*before..at].iter().all(u8::is_ascii_alphanumeric))?;
    Some(before..exactly(text, at + start, Alphabet::Url, &(60..=70))?.end)
}

fn grafana(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    if !begins(text, at) {
        return None;
    }
    match start {
        // `glc_`: base64 of JSON.
        4 => {
            exactly(text, at + start, Alphabet::Base64, &(60..=400)).filter(|_| text[at + start..].starts_with(b"eyJ"))
        }
        _ => parts(text, at + start, b'_', &[(Alphabet::Alnum, 32, 32), (Alphabet::Hex, 8, 8)]),
    }
}

fn matrix(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let forms = [(Alphabet::Base64, 2, 120), (Alphabet::Alnum, 20, 20), (Alphabet::Alnum, 6, 6)];
    begins(around.bytes, at).then(|| parts(around.bytes, at + start, b'_', &forms))?
}
