//! The known faults of a machine, of a repository and of a fleet: facts in, faults out, each with its help. A rule is one
//! function in the list of what it looks at; to add one is to write it and to name it there.

pub mod machine;
pub mod repository;
pub mod text;

use serde::Serialize;

use crate::domain::level::Level;

/// A fault that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub level: Level,
    /// The rule that found it.
    pub rule: &'static str,
    /// The path or name that it is about.
    pub about: String,
    pub what: String,
    /// What to do about it.
    #[serde(rename = "mend")]
    pub help: String,
    /// How it can be fixed without a loss, if it can.
    pub fix: Option<Fix>,
}

/// A help that loses nothing and that a program may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fix {
    /// Tell git of files, with `git add --intent-to-add`: paths from the top of the repository.
    Track(Vec<String>),
    /// Remove a symbolic link of the machine, and nothing that it leads to.
    RemoveLink(String),
    /// The same of the repository.
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

/// What rules found, each fault under the name of its rule.
fn judged(rules: impl Iterator<Item = (&'static str, Vec<Fault>)>) -> Vec<Fault> {
    rules.flat_map(|(rule, faults)| faults.into_iter().map(move |fault| Fault { rule, ..fault })).collect()
}

/// The heavier first, then in the order in which they were found.
pub fn sorted(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(|fault| fault.level);
    faults
}
