//! Files without a value, and how to create one: files with the same advice share one message.

use std::collections::BTreeMap;

use crate::domain::counted::counted;
use crate::domain::name::{FileName, SecretName};
use crate::domain::policy::Wanted;

/// A file that the policy requires and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    pub how: How,
    pub file: FileName,
    secret: SecretName,
    /// The number of files of the secret: one, or one per host.
    of: usize,
}

/// How a file gets a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// It is generated, as declared in the policy.
    Generated,
    /// A person enters it.
    Given,
    /// It was deleted, and git still has it.
    Deleted,
}

impl Lacking {
    /// `committed`: whether git has it.
    pub fn of(wanted: &Wanted<'_>, committed: bool) -> Self {
        let how = match wanted.secret.generate {
            _ if committed => How::Deleted,
            Some(_) => How::Generated,
            None => How::Given,
        };
        let of = if wanted.secret.per_host { wanted.secret.hosts.len() } else { 1 };
        Self { how, file: wanted.file.clone(), secret: wanted.name.clone(), of }
    }

    /// What to do about this one.
    pub fn help(&self) -> String {
        let Self { file, how, secret, of } = self;
        match how {
            How::Generated => format!("`sealift rotate {file}`"),
            How::Given => format!("`sealift seal {file}`"),
            How::Deleted => {
                let back = format!("`git checkout HEAD -- {}` brings it back", file.path());
                if *of == 1 { format!("{back}, `sealift rm {secret}` drops it for good") } else { back }
            }
        }
    }
}

impl How {
    /// What to do about several files.
    pub fn help(self) -> &'static str {
        match self {
            How::Generated => "have them generated: `sealift rotate --missing`",
            How::Given => "give each a value: `sealift seal NAME`",
            How::Deleted => {
                "`git checkout HEAD -- secrets/NAME.age` brings one back, `sealift rm NAME` drops it for good"
            }
        }
    }
}

/// The message for files that get a value in the same way.
pub fn told(how: How, lacking: &[&Lacking]) -> String {
    match lacking {
        [one] if how == How::Deleted => format!("{} was deleted, and git has it: {}", one.file, one.help()),
        many if how == How::Deleted => format!("deleted, and git has them: {}; {}", names(many), how.help()),
        [one] => format!("{} has no value yet: {}", one.file, one.help()),
        many => format!("no value yet: {}; {}", names(many), how.help()),
    }
}

/// The names of several files. If a secret has no value for any of its hosts, it is named once.
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
