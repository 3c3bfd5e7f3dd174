//! One error type for the whole program: what went wrong, the kind of failure (which decides the exit code), and,
//! separately, what a person can do about it.
//!
//! Messages name the thing and the place. They never contain a value, a key that might be private, or a line of a file.

use std::fmt;
use std::sync::Arc;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure. Stable: each is one exit code, listed in `docs/exit-codes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// It failed or was declined; nothing changed.
    Failed = 1,
    /// Wrong use, or the fleet's own files are invalid.
    Usage = 2,
    /// `check` found drift or a policy finding.
    Drift = 3,
    /// Some hosts or secrets failed, each named.
    Partial = 4,
    /// No available identity opens this.
    NoIdentity = 5,
    /// The deploy failed and the host is back in its previous state.
    RolledBack = 6,
    /// The host is unreachable, refuses the connection, or has the wrong host key.
    Unreachable = 7,
    /// Damaged, tampered with, or sealed under another name.
    Integrity = 8,
    /// The rollback failed, too: a person is needed.
    NeedsOperator = 9,
    /// Plaintext was found.
    Plaintext = 10,
    /// Not everything could be checked.
    Incomplete = 11,
    /// A defect in sealift itself.
    Bug = 70,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Kind {
    pub const ALL: [Kind; 13] = [
        Kind::Failed,
        Kind::Usage,
        Kind::Drift,
        Kind::Partial,
        Kind::NoIdentity,
        Kind::RolledBack,
        Kind::Unreachable,
        Kind::Integrity,
        Kind::NeedsOperator,
        Kind::Plaintext,
        Kind::Incomplete,
        Kind::Bug,
        Kind::Interrupted,
    ];

    /// The process exit code of this kind.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The kind for an exit code; unknown codes are plain failures.
    pub fn from_code(code: u8) -> Kind {
        Self::ALL.into_iter().find(|kind| kind.code() == code).unwrap_or(Kind::Failed)
    }

    /// The kind of a batch: the common one if all agree, 9 if any is 9, else 4 (partial).
    pub fn of_batch(kinds: impl IntoIterator<Item = Kind>) -> Kind {
        let mut kinds = kinds.into_iter();
        let Some(first) = kinds.next() else { return Kind::Failed };
        kinds.fold(first, |all, one| match (all, one) {
            (Kind::NeedsOperator, _) | (_, Kind::NeedsOperator) => Kind::NeedsOperator,
            (a, b) if a == b => a,
            _ => Kind::Partial,
        })
    }
}

/// A failure to be reported to the user. Clones share their causes.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    message: String,
    help: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    parts: Vec<Error>,
    passing: bool,
    summary: Option<String>,
}

impl Error {
    /// A failure of this kind. The message is one line, in lower case, without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            help: None,
            source: None,
            parts: Vec::new(),
            passing: false,
            summary: None,
        }))
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Wrong use or an invalid fleet file.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Damaged, tampered with, or sealed under another name.
    pub fn integrity(message: impl Into<String>) -> Self {
        Self::new(Kind::Integrity, message)
    }

    /// An operating system call failed. `what` says what was done, and to what.
    pub fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::failed(what).because(source.into())
    }

    /// Several failures of one batch. A single one is returned unchanged.
    pub fn batch(message: impl Into<String>, mut parts: Vec<Error>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        Self::all(Kind::of_batch(parts.iter().map(Error::kind)), message, parts)
    }

    /// Fails if there are any failures. `message` gets their number.
    pub fn unless_none(parts: Vec<Error>, message: impl FnOnce(usize) -> String) -> Result<()> {
        if parts.is_empty() { Ok(()) } else { Err(Self::batch(message(parts.len()), parts)) }
    }

    /// Several failures under one of this kind, even if there is only one.
    pub fn all(kind: Kind, message: impl Into<String>, parts: Vec<Error>) -> Self {
        let mut all = Self::new(kind, message);
        all.0.parts = parts;
        all
    }

    /// Puts `what` before the message.
    #[must_use]
    pub fn about(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// The message, its causes and its parts in one line, for a log or a status.
    pub fn in_one_line(&self) -> String {
        let mut text = self.0.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {}", error.to_string().replace('\n', "; "));
            cause = error.source();
        }
        let parts: Vec<String> = self.0.parts.iter().map(Self::in_one_line).collect();
        if parts.is_empty() { text } else { format!("{text}: {}", parts.join("; ")) }
    }

    /// Adds what a person can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// Marks a failure as temporary and nobody's fault, such as a machine that is off.
    #[must_use]
    pub fn passing(mut self) -> Self {
        self.0.passing = true;
        self
    }

    /// Whether it is temporary.
    pub fn is_passing(&self) -> bool {
        self.0.passing
    }

    /// Changes the kind.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What went wrong, in one line.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the message begins with this name. Names further on may be a host's own words.
    pub fn is_about(&self, who: &str) -> bool {
        self.0.message.strip_prefix(who).is_some_and(|rest| rest.starts_with([':', ' ']))
    }

    /// The message to print once for several hosts with the same failure; it names none of them.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> Self {
        self.0.summary = Some(summary.into());
        self
    }

    pub fn summary(&self) -> Option<&str> {
        self.0.summary.as_deref()
    }

    /// What a person can do about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The failures of a batch; empty for a single one.
    pub fn parts(&self) -> &[Error] {
        &self.0.parts
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        self.0.parts.iter().try_for_each(|part| write!(f, "\n  {part:?}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_with_the_common_code_or_partial_or_nine() {
        use Kind::*;
        for (kinds, all) in [
            (vec![Integrity, Integrity], Integrity),
            (vec![Integrity, Failed], Partial),
            (vec![Integrity, NeedsOperator, Failed], NeedsOperator),
            (vec![Partial, Failed, Failed], Partial),
        ] {
            assert_eq!(Kind::of_batch(kinds), all);
        }
    }

    #[test]
    fn only_the_beginning_of_a_message_says_whom_it_is_about() {
        assert!(Error::failed("web: it is full").is_about("web"));
        for other in ["sudo on web refuses jay", "web-1: it is full", "db: web: it is full"] {
            assert!(!Error::failed(other).is_about("web"), "{other}");
        }
    }

    #[test]
    fn a_batch_of_one_is_that_one() {
        let error = Error::batch("2 files failed", vec![Error::integrity("a is damaged")]);
        assert_eq!((error.message(), error.kind()), ("a is damaged", Kind::Integrity));
    }
}
