//! The list of rules: what each finds, with two texts in which it must find something and two in which it must not. To
//! add a rule, add a row to data/token-rules.json; its examples are its test, and the corpus is made from them.

mod assigned;
mod keys;
mod table;
mod tokens;

use crate::domain::prefilter::Literal;
use crate::domain::rule_info::{About, Weight};
use crate::domain::scan::rule::Rule;
use crate::domain::scan::source_rule;

/// The rule for the fleet's own values. Not in the list below, because `index` searches for them.
pub static SEALED_VALUE: About = About {
    id: "sealed-value",
    what: "a value of this fleet",
    why: "it is sealed under secrets/, and here it stands in the clear",
    help: "take it out, and give the secret a new value: `sealift rotate NAME`",
    weight: Weight::Severe,
};

/// Every rule, by precedence if two find the same place.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    table::RULES.iter()
}

/// The descriptions of all rules, including those for sources and for values.
pub fn every() -> impl Iterator<Item = &'static About> {
    std::iter::once(&SEALED_VALUE).chain(all().map(|rule| &rule.about)).chain(source_rule::every())
}

/// The description of the rule with this name.
pub fn named(id: &str) -> Option<&'static About> {
    every().find(|about| about.id == id)
}

/// The names of all rules.
pub fn names() -> impl Iterator<Item = &'static str> {
    every().map(|about| about.id)
}

/// The literals of all rules, each with the index of its rule in the list.
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
    use crate::domain::prefilter::Prefilter;
    use crate::domain::scan::engine::Engine;
    use crate::domain::scan::sample::make;
    use crate::domain::scan::subject::Subject;

    #[test]
    fn every_rule_finds_its_examples_and_leaves_the_others() {
        let engine = Engine::new(None);
        let mut faults = Vec::new();
        for rule in all() {
            let found = |form: &str, seed: u64| {
                let text = make(form, seed);
                // Alone, and between other lines.
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
    fn the_literals_of_all_rules_are_told_as_a_slow_look_tells_them() {
        let literals = literals();
        let prefilter = Prefilter::new(literals.clone());
        let texts = all().flat_map(|rule| rule.yes.into_iter().chain(rule.no)).map(|form| make(form, 5));
        let text = texts.flat_map(|text| [text.to_uppercase(), text]).collect::<Vec<_>>().join("\n");
        let text = text.as_bytes();
        let mut slow = BTreeSet::new();
        for (at, literal) in (0..text.len()).flat_map(|at| literals.iter().map(move |literal| (at, literal))) {
            let word = literal.text.as_bytes();
            let there = text.get(at..at + word.len());
            if there.is_some_and(|there| there == word || literal.fold && there.eq_ignore_ascii_case(word)) {
                slow.insert((literal.of, at));
            }
        }
        assert!(all().zip(0..).all(|(_, of)| slow.iter().any(|(its, _)| *its == of)));
        // In one piece, and in pieces with literals across their borders.
        for size in [text.len(), 7] {
            let mut told = BTreeSet::new();
            for from in (0..text.len()).step_by(size) {
                prefilter.each(text, from, from + size, |of, at| {
                    assert!((from..from + size).contains(&at));
                    told.insert((of, at));
                });
            }
            assert!(told == slow, "{:?}", told.symmetric_difference(&slow).take(5).collect::<Vec<_>>());
        }
    }

    #[test]
    fn names_are_unique_and_texts_are_there() {
        let mut names = BTreeSet::new();
        for rule in all() {
            let About { id, what, why, help, .. } = rule.about;
            assert!(names.insert(id) && !what.is_empty() && !why.is_empty() && !help.is_empty(), "{id}");
            assert!(
                rule.starts.iter().all(|start| start.len() >= 3 && (!rule.fold || start.to_lowercase() == **start)),
                "{id}"
            );
        }
        assert!(names.len() > 45, "{}", names.len());
    }
}
