//! Asks for consent to a change of readers: who gains access to files and who loses it.

use std::collections::{BTreeMap, BTreeSet};

use crate::commands::Session;
use crate::commands::past::{Merge, Past};
use crate::domain::counted::counted;
use crate::domain::drift::access::{Access, Reader, listed};
use crate::domain::drift::rekey_plan::by_reader;
use crate::domain::drift::same::{grouped, names};
use crate::domain::name::{AdminName, FileName, HostName};
use crate::domain::policy::{Holder, Policy};
use crate::error::{Error, Kind, Result};

/// The consent given on the command line.
#[derive(Debug, Default)]
pub struct Terms<'a> {
    /// The readers whose access may be removed, by their words.
    pub remove: BTreeSet<String>,
    pub yes: bool,
    /// Whether the command itself gives access to readers of the policy, as its report shows.
    pub gains: bool,
    /// The host or admin that the command is about.
    pub of: Option<Of<'a>>,
    /// The options that are also needed in the suggested command.
    pub adopting: String,
}

/// The host or admin that a change of readers is about.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// This host may gain or lose access.
    Host(&'a HostName),
    /// This admin may lose access. Another key of the same admin may not gain it.
    Admin(&'a AdminName),
}

impl Of<'_> {
    fn loses(self, reader: &Reader) -> bool {
        match (self, reader) {
            (Of::Admin(admin), Reader::Known(Holder::Admin(name)) | Reader::More(Holder::Admin(name), _)) => {
                admin == name
            }
            _ => self.gains(reader),
        }
    }

    fn gains(self, reader: &Reader) -> bool {
        match (self, reader) {
            (
                Of::Host(host),
                Reader::Known(Holder::Host(name) | Holder::Retired(name)) | Reader::More(Holder::Host(name), _),
            ) => host == name,
            _ => false,
        }
    }
}

/// Continues only with consent: readers who lose access are named on the command line and gains are intended, or the
/// user confirms both at the terminal.
pub fn agree(session: &Session, past: &Past, accesses: &[(FileName, Access)], terms: &Terms<'_>) -> Result<()> {
    let mut losses = by_reader(accesses, |access| &access.loses);
    losses.retain(|reader, _| !terms.of.is_some_and(|of| of.loses(reader)) && !terms.remove.contains(&reader.word()));
    let mut gains = by_reader(accesses, |access| &access.gains);
    gains.retain(|reader, _| !terms.of.is_some_and(|of| of.gains(reader)));
    if terms.yes || !session.talk.is_there() {
        if losses.is_empty() {
            return if terms.gains || gains.is_empty() { Ok(()) } else { Err(uninvited(&gains)) };
        }
        let by_merge =
            |reader: &Reader, files: &[&FileName]| files.first().and_then(|file| merge(session, past, file, reader));
        let said = losses.iter().map(|(reader, files)| (*reader, (files, by_merge(reader, files))));
        let said = grouped(said);
        let merged = said.iter().any(|((_, merge), _)| merge.is_some());
        let lost = said.into_iter().map(|((files, merge), readers)| {
            let error = Error::failed(format!("{} would lose access to {}", listed(readers), several(files)));
            match merge {
                Some(merge) => error.because(merge),
                None => error,
            }
        });
        let lost: Vec<Error> = lost.collect();
        let remove: BTreeSet<String> = losses.keys().map(|reader| format!(" --remove {}", reader.word())).collect();
        let call = format!("sealift rekey{}{}", terms.adopting, remove.into_iter().collect::<String>());
        let help = if merged {
            format!("{}; only if it is intended: `{call}`", Merge::HELP)
        } else {
            format!("if that is intended: `{call}`; if not, say in recipients.toml that they read it")
        };
        return Err(Error::all(Kind::Failed, "somebody would lose access; nothing was changed", lost).help(help));
    }
    if losses.is_empty() && gains.is_empty() {
        return Ok(());
    }
    tell(session, accesses);
    for (reader, files) in &losses {
        if let Some(merge) = files.first().and_then(|file| merge(session, past, file, reader)) {
            session.warn(merge);
        }
    }
    let part = |verb: &str, readers: &BTreeMap<&Reader, Vec<&FileName>>| {
        (!readers.is_empty()).then(|| format!("{verb} {}", listed(readers.keys().copied())))
    };
    let parts = [part("give access to", &gains), part("take it from", &losses)];
    let parts = parts.into_iter().flatten().collect::<Vec<_>>().join(" and ");
    let question = format!("Re-encrypt {}, {parts}?", counted(accesses.len(), "file"));
    if session.talk.confirm(&question)? { Ok(()) } else { Err(Error::failed("declined; nothing was changed")) }
}

/// Reports who gains and who loses access to which files.
pub fn tell(session: &Session, accesses: &[(FileName, Access)]) {
    let changed = accesses.iter().filter(|(_, access)| !access.is_none());
    for (access, files) in grouped(changed.map(|(file, access)| (file, access))) {
        let told = access.told();
        session.note(match &files[..] {
            [file] => format!("{file}: {told}"),
            files => format!("{told}: {}", names(files)),
        });
    }
}

/// Formats file names for a sentence, with their number if there are more than three.
fn several(files: &[&FileName]) -> String {
    if files.len() > 3 { names(files) } else { files.iter().map(|file| file.as_str()).collect::<Vec<_>>().join(", ") }
}

/// The error for a reader who would gain access as a side effect, when nobody can be asked.
fn uninvited(gains: &BTreeMap<&Reader, Vec<&FileName>>) -> Error {
    let said = grouped(gains.iter().map(|(reader, files)| (*reader, files)));
    let errors = said
        .into_iter()
        .map(|(files, readers)| Error::failed(format!("{} would gain access to {}", listed(readers), several(files))));
    let files: BTreeSet<&str> = gains.values().flatten().map(|file| file.as_str()).collect();
    let call = format!("sealift rekey {}", files.into_iter().collect::<Vec<_>>().join(" "));
    let help = format!("if that is intended: `{call}` first; if not, remove them from recipients.toml");
    Error::all(Kind::Failed, "somebody would gain access; nothing was changed", errors.collect()).help(help)
}

/// Returns the merge that took a file from a reader, if there was one.
fn merge(session: &Session, past: &Past, file: &FileName, reader: &Reader) -> Option<String> {
    let reads = |policy: &Policy| {
        let holders = policy.holders();
        let wanted = policy.wanted().remove(file);
        wanted.is_some_and(|wanted| {
            let recipients = policy.recipients_of(&wanted.hosts);
            recipients.keys().any(|key| Reader::of(key, &holders).word() == reader.word())
        })
    };
    if reads(&session.fleet.policy) {
        return None;
    }
    past.merge_that_ended(reads).map(|merge| merge.told(file))
}
