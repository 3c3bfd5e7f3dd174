//! Files that have no value yet, and how they get one: said once for all of which the same is to be said.

use std::collections::BTreeMap;

use crate::domain::counted::counted;
use crate::domain::name::{FileName, SecretName};
use crate::domain::policy::Wanted;

/// A file that the policy asks for and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    pub how: How,
    pub file: FileName,
    secret: SecretName,
    /// How many files the secret has: one for each of its hosts, or one.
    of: usize,
}

/// How a file gets a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// The policy says how it is generated.
    Generated,
    /// Somebody gives it.
    Given,
    /// It was deleted, and git has it.
    Deleted,
}

impl Lacking {
    pub fn of(wanted: &Wanted<'_>) -> Self {
        let how = if wanted.secret.generate.is_some() { How::Generated } else { How::Given };
        let of = if wanted.secret.per_host { wanted.secret.hosts.len() } else { 1 };
        Self { how, file: wanted.file.clone(), secret: wanted.name.clone(), of }
    }

    /// What to do about this one.
    pub fn help(&self) -> String {
        let Self { file, how, .. } = self;
        match how {
            How::Generated => format!("`sealift rotate {file}`"),
            How::Given => format!("`sealift seal {file}`"),
            How::Deleted => format!("git has it: `git checkout -- {}`", file.path()),
        }
    }
}

impl How {
    /// What to do about several.
    pub fn help(self) -> &'static str {
        match self {
            How::Generated => "have them generated: `sealift rotate --missing`",
            How::Given => "give each a value: `sealift seal NAME`",
            How::Deleted => "git has them: `git checkout -- secrets/NAME.age`",
        }
    }
}

/// What is said of files that get a value in the same way.
pub fn told(how: How, lacking: &[&Lacking]) -> String {
    match lacking {
        [one] => format!("{} has no value yet: {}", one.file, one.help()),
        many => format!("no value yet: {}; {}", names(many), how.help()),
    }
}

/// The names of several. A secret that has a value for no host at all is named once.
pub fn names(lacking: &[&Lacking]) -> String {
    let mut missing: BTreeMap<&SecretName, Vec<&Lacking>> = BTreeMap::new();
    for one in lacking {
        missing.entry(&one.secret).or_default().push(one);
    }
    let names = missing.into_iter().flat_map(|(secret, files)| match &files[..] {
        [one, _, ..] if one.of == files.len() => vec![format!("{secret} of every host")],
        files => files.iter().map(|one| one.file.to_string()).collect(),
    });
    format!("{} ({})", names.collect::<Vec<_>>().join(", "), counted(lacking.len(), "file"))
}
