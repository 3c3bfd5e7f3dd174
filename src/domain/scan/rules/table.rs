//! The table of all rules for bytes, data/token-rules.json: one rule per row. Its examples are forms (see `sample`),
//! not secrets.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::rule_info::{About, Weight};
use crate::domain::scan::charset::Alphabet;
use crate::domain::scan::rule::{Find, Rule, Search};
use crate::domain::scan::rules::{assigned, keys, tokens};

/// The rules, parsed on first use.
pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    // The tests below fail if the table cannot be parsed.
    let rows: Vec<Row> = serde_json::from_str(TABLE).unwrap_or_default();
    rows.into_iter().filter_map(Row::rule).collect()
});

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/token-rules.json"));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    what: String,
    #[serde(default)]
    kind: Kind,
    why: Option<String>,
    help: Option<String>,
    weight: Option<Weight>,
    starts: Vec<String>,
    #[serde(default)]
    fold: bool,
    /// What follows a start literal: an alphabet, and the minimum and maximum length. `None`: a function checks it.
    form: Option<(Alphabet, usize, usize)>,
    yes: [String; 2],
    no: [String; 2],
}

/// The kind of finding, which has the default texts for rows without their own.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// A private key.
    Key,
    /// A token of a service.
    #[default]
    Token,
    /// A value assigned to a telling name.
    Value,
}

impl Kind {
    fn why(self) -> &'static str {
        match self {
            Kind::Key => "anyone who reads the repository or the Nix store has the key",
            Kind::Token | Kind::Value => "anyone who reads the repository or the Nix store can use it",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Kind::Key => {
                "make a new key, seal it (`sealift seal NAME --from-file F --shred`), and take this one out of use"
            }
            Kind::Token => "make a new one where it was issued, revoke this one, and seal the new: `sealift seal NAME`",
            Kind::Value => {
                "seal it (`sealift seal NAME`) and give the service a file to read; then give it a new value"
            }
        }
    }

    fn weight(self) -> Weight {
        match self {
            Kind::Key => Weight::Severe,
            Kind::Token => Weight::High,
            Kind::Value => Weight::Medium,
        }
    }
}

impl Row {
    fn rule(self) -> Option<Rule> {
        let by_code = || by_code().find(|(id, _)| *id == self.id).map(|(_, find)| Find::By(find));
        let token = |(alphabet, least, most)| Find::Token(alphabet, least, most);
        // Leaked, because rules are never freed.
        Some(Rule {
            find: self.form.map(token).or_else(by_code)?,
            about: About {
                id: self.id.leak(),
                what: self.what.leak(),
                why: self.why.map_or(self.kind.why(), |why| why.leak()),
                help: self.help.map_or(self.kind.help(), |help| help.leak()),
                weight: self.weight.unwrap_or(self.kind.weight()),
            },
            starts: self.starts.into_iter().map(|start| &*start.leak()).collect::<Vec<_>>().leak(),
            fold: self.fold,
            yes: self.yes.map(|text| &*text.leak()),
            no: self.no.map(|text| &*text.leak()),
        })
    }
}

/// The search functions for forms other than one run of an alphabet, by rule name.
fn by_code() -> impl Iterator<Item = (&'static str, Search)> {
    [keys::BY_CODE, tokens::BY_CODE, assigned::BY_CODE].into_iter().flatten().copied()
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
        assert!(ids.len() >= 62);
        for row in rows {
            let code = by_code().filter(|(id, _)| *id == row.id).count();
            assert_eq!(code, usize::from(row.form.is_none()), "{} is found by its form or by code", row.id);
            assert!(!row.starts.is_empty() && row.starts.iter().all(|start| start.is_ascii()), "{}", row.id);
            if let Some((_, least, most)) = row.form {
                assert!((1..=most).contains(&least) && most < REACH, "{}", row.id);
            }
        }
        assert!(by_code().all(|(id, _)| ids.iter().any(|known| known == id)));
    }
}
