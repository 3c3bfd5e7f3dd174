//! The list of rules: what each finds, with two texts that it must find and two that it must not. A new rule is one entry
//! in `keys`, `tokens` or `assigned`; its examples are its test, and the corpus is made from them.

mod assigned;
mod keys;
mod tokens;

use std::ops::Range;

use crate::domain::prefilter::Literal;
use crate::domain::rule_info::{About, Weight};
use crate::domain::scan::charset::{Alphabet, Around, begins, exactly};
use crate::domain::scan::entropy::stand_in;

/// A rule for bytes.
pub struct Rule {
    /// What it says of itself.
    pub about: About,
    /// What it begins with; one of these is there, or there is no finding.
    pub(super) starts: &'static [&'static str],
    /// Whether capital letters in those count as small ones.
    pub(super) fold: bool,
    pub(super) find: Find,
    /// Forms of texts that it must find.
    pub yes: [&'static str; 2],
    /// Forms of texts that it must not find.
    pub no: [&'static str; 2],
}

/// How the rest is looked at once a start is there.
pub(super) enum Find {
    /// So many bytes of an alphabet follow, and no more.
    Token(Alphabet, usize, usize),
    /// Asks: the text, where the start is, how long it is. Must look at no more than `engine::REACH` bytes around it.
    By(fn(Around<'_>, usize, usize) -> Option<Range<usize>>),
}

impl Rule {
    /// The finding at a place where `start` bytes of one of its starts are: where the secret is in the text.
    pub(super) fn at(&self, around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
        match &self.find {
            Find::Token(alphabet, least, most) => {
                let text = around.bytes;
                let secret = begins(text, at).then(|| exactly(text, at + start, *alphabet, &(*least..=*most)))??;
                (!stand_in(&text[secret.clone()])).then_some(at..secret.end)
            }
            Find::By(find) => find(around, at, start),
        }
    }
}

/// What finds the fleet's own values. Not in the list below: it is looked for by `values`.
pub static SEALED_VALUE: About = About {
    id: "sealed-value",
    what: "a value of this fleet",
    why: "it is sealed under secrets/, and here it stands in the clear",
    mend: "take it out, and give the secret a new value: `sealift rotate`",
    weight: Weight::Severe,
};

/// Every rule, in the order in which they win where two find the same place.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    keys::RULES.iter().chain(&tokens::RULES).chain(&assigned::RULES)
}

/// What every rule says of itself, the ones for sources and for values included.
pub fn every() -> impl Iterator<Item = &'static About> {
    std::iter::once(&SEALED_VALUE).chain(all().map(|rule| &rule.about)).chain(crate::domain::scan::source_rule::every())
}

/// The rule of this name.
pub fn named(id: &str) -> Option<&'static About> {
    every().find(|about| about.id == id)
}

/// The names of all rules.
pub fn names() -> impl Iterator<Item = &'static str> {
    every().map(|about| about.id)
}

/// The literals of all rules; what one belongs to is its rule's place in the list.
pub(super) fn literals() -> Vec<Literal> {
    let of = |(of, rule): (usize, &'static Rule)| {
        let of = u16::try_from(of).unwrap_or(u16::MAX);
        rule.starts.iter().map(move |text| Literal { text, fold: rule.fold, of })
    };
    all().enumerate().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::scan::engine::{Engine, Subject};
    use crate::domain::scan::sample::make;

    #[test]
    fn every_rule_finds_its_examples_and_leaves_the_others() {
        let engine = Engine::new(None);
        let mut faults = Vec::new();
        for rule in all() {
            let found = |form: &str, seed: u64| {
                let text = make(form, seed);
                // Alone, and in the middle of other lines.
                let one = |text: &str| {
                    let hits = engine.whole(&Subject::named(b"some/file.yaml"), text.as_bytes());
                    hits.iter().any(|hit| hit.rule.id == rule.about.id)
                };
                (one(&text), one(&format!("first: line\n{text}\nlast: line\n")))
            };
            for seed in 1..40 {
                for form in rule.yes {
                    if found(form, seed) != (true, true) {
                        faults.push(format!("{} does not find {form} (seed {seed})", rule.about.id));
                    }
                }
                for form in rule.no {
                    if found(form, seed) != (false, false) {
                        faults.push(format!("{} finds {form} (seed {seed})", rule.about.id));
                    }
                }
            }
        }
        faults.dedup_by_key(|fault| fault.split(" (").next().map(str::to_owned));
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn names_are_unique_and_texts_are_there() {
        let mut names = BTreeSet::new();
        for rule in all() {
            let About { id, what, why, mend, .. } = rule.about;
            assert!(names.insert(id) && !what.is_empty() && !why.is_empty() && !mend.is_empty(), "{id}");
            assert!(
                rule.starts.iter().all(|start| start.len() >= 3 && (!rule.fold || start.to_lowercase() == **start)),
                "{id}"
            );
        }
        assert!(names.len() > 45, "{}", names.len());
    }
}
