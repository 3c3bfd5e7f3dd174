//! The request to adopt a value, and the inline value that was found.

use std::path::{Path, PathBuf};

use crate::domain::migrate::gitconfig::SigningKey;
use crate::domain::name::SecretName;
use crate::domain::nix::finding::NixFinding;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::shape::Shape;

/// A signing key: its line in the configuration, and its file.
pub(super) struct Key {
    pub(super) line: SigningKey,
    pub(super) file: PathBuf,
}

impl Key {
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// What to adopt.
#[derive(Debug, Default)]
pub struct Request {
    pub file: PathBuf,
    /// The line with the value or its option.
    pub line: usize,
    /// The column, if the line has more than one value.
    pub column: Option<usize>,
    /// The secret's name, if not the proposed one.
    pub name: Option<SecretName>,
    /// The hosts that read it, if not the host of the file.
    pub hosts: Vec<String>,
    /// The option that takes a file, for an unknown module.
    pub twin: Option<String>,
    /// The shape, if not that of the option.
    pub shape: Option<Shape>,
    /// The owner of the delivered file.
    pub owner: Option<String>,
    /// The user's home directory, for `~`.
    pub home: Option<PathBuf>,
    /// Destroy a key's file outside the repository after sealing.
    pub shred: bool,
    /// Only show what would be done.
    pub dry_run: bool,
    pub yes: bool,
}

pub(super) enum Location {
    /// At an option of Nix source.
    Option(Box<NixFinding>),
    /// In a file that a git configuration names.
    Key(Box<Key>),
}

/// A value that was found in a file, with how to seal and deliver it.
pub(super) struct Inline {
    pub(super) value: Plaintext,
    /// The value as written in the file, if that differs.
    pub(super) written: String,
    pub(super) option: String,
    pub(super) twin: String,
    /// The path of the option that takes the file, in words.
    pub(super) target: Vec<String>,
    /// The content to seal, with `%` for the value. None: the value alone.
    pub(super) content: Option<&'static str>,
    pub(super) shape: Shape,
    pub(super) owner: String,
    pub(super) unit: Option<String>,
    pub(super) for_users: bool,
    /// The proposed name.
    pub(super) name: String,
    pub(super) note: &'static str,
    pub(super) place: Location,
}
