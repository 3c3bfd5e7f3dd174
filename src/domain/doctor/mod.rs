//! The known faults of a machine, a repository and a fleet: facts in, faults out, each with its help. A rule is a
//! function in the list for what it checks; to add one, write it and add it there.

pub mod machine;
pub mod repository;
pub mod text;

use serde::Serialize;

use crate::domain::level::Level;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub level: Level,
    /// The rule that found it.
    pub rule: &'static str,
    /// The path or name that it refers to.
    pub about: String,
    pub what: String,
    /// What to do about it.
    #[serde(rename = "mend")]
    pub help: String,
    /// How it can be fixed without losing anything, if it can.
    pub fix: Option<Fix>,
}

/// A fix that loses nothing and that a program may apply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fix {
    /// Run `git add --intent-to-add` on these files: paths from the top of the repository.
    Track(Vec<String>),
    /// Remove a symlink on the machine, but not its target.
    RemoveLink(String),
    /// Remove a symlink in the repository, but not its target.
    RemoveResult(String),
}

impl Fault {
    fn new(level: Level, about: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { level, rule: "", about: about.into(), what: what.into(), help: help.into(), fix: None }
    }

    fn error(about: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Level::Error, about, what, help)
    }

    fn warning(about: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Level::Warning, about, what, help)
    }

    fn with(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }
}

/// The faults found by rules, each with the name of its rule.
fn judged(rules: impl Iterator<Item = (&'static str, Vec<Fault>)>) -> Vec<Fault> {
    rules.flat_map(|(rule, faults)| faults.into_iter().map(move |fault| Fault { rule, ..fault })).collect()
}

/// Sorted by level, errors first, otherwise in the original order.
pub fn sorted(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(|fault| fault.level);
    faults
}
