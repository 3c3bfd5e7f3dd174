//! `show`: decrypts a secret and returns its bytes, exactly as sealed.

use crate::adapters::age;
use crate::commands::Session;
use crate::commands::lacking::lacking;
use crate::domain::drift::lacking::How;
use crate::domain::name::{FileName, nearest};
use crate::domain::policy::Wanted;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

pub fn run(session: &Session, file: &FileName) -> Result<Plaintext> {
    let bytes = session.fleet.sealed(file)?.ok_or_else(|| unknown(session, file))?;
    let identities = session.identities()?;
    let opened = age::open(&bytes, file, &identities)?;
    if opened.seal.is_none() {
        session.warn(format!("{} has no seal: another tool wrote it, or the seal was stripped", file.path()));
    }
    Ok(opened.value)
}

/// The failure of a file that is declared and not there.
pub fn without_value(session: &Session, wanted: &Wanted<'_>) -> Error {
    let file = &wanted.file;
    lacking(&session.fleet, [wanted]).iter().fold(Error::usage(format!("{file} has no value yet")), |error, one| {
        match one.how {
            How::Deleted => Error::usage(format!("{file} was deleted, and git has it")).help(one.help()),
            How::Generated | How::Given => error.help(format!("give it one: {}", one.help())),
        }
    })
}

/// Returns the error for an unknown name.
pub fn unknown(session: &Session, file: &FileName) -> Error {
    let policy = &session.fleet.policy;
    let error = Error::usage(format!("there is no secret {file}"));
    let wanted = policy.wanted();
    if let Some((_, secret)) = policy.secrets.get_key_value(file.as_str()).filter(|(_, secret)| secret.per_host) {
        let hosts: Vec<_> = secret.hosts.iter().map(|host| format!("{file}/{host}")).collect();
        return error.help(format!("each host has a value of its own: {}", hosts.join(", ")));
    }
    if let Some(wanted) = wanted.get(file) {
        return without_value(session, wanted);
    }
    if let Some(bare) = file.without_place().filter(|bare| wanted.contains_key(*bare)) {
        return error.help(format!("a name is without `secrets/` and `.age`: {bare}"));
    }
    match nearest(file.as_str(), wanted.keys().map(FileName::as_str)) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error.help("`sealift list` shows what there is"),
    }
}
