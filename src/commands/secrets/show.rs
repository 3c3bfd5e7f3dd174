//! `show`: opens a secret and hands out its bytes, exactly as sealed.

use crate::adapters::age;
use crate::commands::Session;
use crate::domain::drift::lacking::Lacking;
use crate::domain::name::{FileName, nearest};
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

/// The failure of a name that no file has.
pub fn unknown(session: &Session, file: &FileName) -> Error {
    let policy = &session.fleet.policy;
    let error = Error::usage(format!("there is no secret {file}"));
    let wanted = policy.wanted();
    if let Some((_, secret)) = policy.secrets.get_key_value(file.as_str()).filter(|(_, secret)| secret.per_host) {
        let hosts: Vec<_> = secret.hosts.iter().map(|host| format!("{file}/{host}")).collect();
        return error.help(format!("each host has a value of its own: {}", hosts.join(", ")));
    }
    if wanted.contains_key(file) {
        let path = file.path();
        let committed = session.fleet.git().and_then(|git| git.are_committed(&[session.fleet.root.join(&path)]));
        if committed.is_ok_and(|committed| committed == [true]) {
            return Error::usage(format!("{path} is gone, and git has it")).help(format!("`git checkout -- {path}`"));
        }
        return Error::usage(format!("{file} is declared, but has no value yet"))
            .help(format!("give it one: {}", Lacking::of(&wanted[file]).help()));
    }
    if let Some(bare) = file.without_place().filter(|bare| wanted.contains_key(*bare)) {
        return error.help(format!("a name is without `secrets/` and `.age`: {bare}"));
    }
    match nearest(file.as_str(), wanted.keys().map(FileName::as_str)) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error.help("`sealift list` shows what there is"),
    }
}
