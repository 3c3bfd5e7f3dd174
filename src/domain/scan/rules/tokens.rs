//! Tokens with a form of their own: what services issue. The table is data/token-rules.json, a rule a row; its examples are
//! forms (see `sample`), not tokens. Here is what looks where a row alone cannot say the form.

use std::ops::Range;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::rule_info::{About, Weight};
use crate::domain::scan::charset::{Alphabet, Around, begins, exactly, run};
use crate::domain::scan::entropy::{entropy, stand_in};
use crate::domain::scan::rule::{Find, Rule, Search};
use crate::domain::scan::rules::assigned::given;

const WHY: &str = "anyone who reads the repository or the Nix store can use it";
const HELP: &str = "make a new one where it was issued, revoke this one, and seal the new: `sealift seal NAME`";

/// The rules, read once, by whatever first asks for a rule.
pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    // A table that cannot be read would be found by the tests below.
    let rows: Vec<Row> = serde_json::from_str(TABLE).unwrap_or_default();
    rows.into_iter().filter_map(Row::rule).collect()
});

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/token-rules.json"));

/// A token of a service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    what: String,
    why: Option<String>,
    starts: Vec<String>,
    #[serde(default)]
    fold: bool,
    /// What follows a start: bytes of an alphabet, at least and at most so many. None: one of `BY_CODE` looks.
    form: Option<(Alphabet, usize, usize)>,
    yes: [String; 2],
    no: [String; 2],
}

impl Row {
    fn rule(self) -> Option<Rule> {
        let by_code = || BY_CODE.iter().find(|(id, _)| *id == self.id).map(|(_, find)| Find::By(*find));
        let token = |(alphabet, least, most)| Find::Token(alphabet, least, most);
        // Rules live as long as the program, as those in the source do.
        Some(Rule {
            find: self.form.map(token).or_else(by_code)?,
            about: About {
                id: self.id.leak(),
                what: self.what.leak(),
                why: self.why.map_or(WHY, |why| why.leak()),
                help: HELP,
                weight: Weight::High,
            },
            starts: self.starts.into_iter().map(|start| &*start.leak()).collect::<Vec<_>>().leak(),
            fold: self.fold,
            yes: self.yes.map(|text| &*text.leak()),
            no: self.no.map(|text| &*text.leak()),
        })
    }
}

/// What looks where a form is more than one run of an alphabet, by the rule's name.
const BY_CODE: [(&str, Search); 12] = [
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

/// What is given to a name that says what it is, if it is of this length and alphabet and varied.
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

/// Parts of alphabets and lengths, with one byte between them.
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
        // glc_: base64 of JSON.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scan::charset::REACH;

    #[test]
    fn every_row_of_the_table_is_a_rule_and_all_code_is_used() {
        let rows: Vec<Row> = serde_json::from_str(TABLE).unwrap();
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        assert!(RULES.iter().map(|rule| rule.about.id).eq(&ids), "each row is one rule, in its order");
        assert!(ids.len() >= 45);
        for row in rows {
            let code = BY_CODE.iter().filter(|(id, _)| *id == row.id).count();
            assert_eq!(code, usize::from(row.form.is_none()), "{} is found by its form or by code", row.id);
            assert!(!row.starts.is_empty() && row.starts.iter().all(|start| start.is_ascii()), "{}", row.id);
            if let Some((_, least, most)) = row.form {
                assert!((1..=most).contains(&least) && most < REACH / 2, "{}", row.id);
            }
        }
        assert!(BY_CODE.iter().all(|(id, _)| ids.iter().any(|known| known == id)));
    }
}
