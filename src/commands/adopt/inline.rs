//! What is to be adopted: the place that was named, and the value that stands there.

use std::path::{Path, PathBuf};

use crate::domain::migrate::gitconfig::SigningKey;
use crate::domain::name::SecretName;
use crate::domain::nix::finding::NixFinding;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::shape::Shape;

/// A key's line, and its file.
pub(super) struct Key {
    pub(super) line: SigningKey,
    pub(super) file: PathBuf,
}

impl Key {
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// What is to be adopted.
#[derive(Debug, Default)]
pub struct Request {
    pub file: PathBuf,
    /// The line on which the value or its option stands.
    pub line: usize,
    /// The column, where a line has more than one.
    pub column: Option<usize>,
    /// The secret's name, if not the proposed one.
    pub name: Option<SecretName>,
    /// Who reads it, if not the host of the file.
    pub hosts: Vec<String>,
    /// The option that takes a file, for a module that is not known.
    pub twin: Option<String>,
    /// The shape, if not the option's own.
    pub shape: Option<Shape>,
    /// The owner of the delivered file.
    pub owner: Option<String>,
    /// The person's home, for `~`.
    pub home: Option<PathBuf>,
    /// Destroy a key's file outside of the repository once it is sealed.
    pub shred: bool,
    /// Show what would be done.
    pub dry_run: bool,
    pub yes: bool,
}

pub(super) enum Location {
    /// At an option of Nix source.
    Option(Box<NixFinding>),
    /// In a file that a git configuration names.
    Key(Box<Key>),
}

/// A value that was found in a file, and what becomes of it.
pub(super) struct Inline {
    pub(super) value: Plaintext,
    /// The value as it is written in the file, where that differs.
    pub(super) written: String,
    pub(super) option: String,
    pub(super) twin: String,
    /// All words of the option that takes the path.
    pub(super) target: Vec<String>,
    /// What is sealed, with `%` for the value; none: the value alone.
    pub(super) content: Option<&'static str>,
    pub(super) shape: Shape,
    pub(super) owner: String,
    pub(super) unit: Option<String>,
    pub(super) for_users: bool,
    /// The name that is proposed.
    pub(super) name: String,
    pub(super) note: &'static str,
    pub(super) place: Location,
}
