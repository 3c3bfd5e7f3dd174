//! `mv` and `rm`: rename and remove secrets. The name is part of the seal, so a rename re-encrypts; the value and its
//! serial stay.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::adapters::{age, signals};
use crate::commands::past::Past;
use crate::commands::secrets::agree::{Terms, agree};
use crate::commands::secrets::show::unknown;
use crate::commands::{Changes, Session, adopt_policy};
use crate::domain::drift::access::Access;
use crate::domain::name::{FileName, SecretName};
use crate::domain::policy::Policy;
use crate::domain::policy::edit::{Edit, public_path};
use crate::domain::secret::seal::Seal;
use crate::error::{Error, Result};

#[derive(Debug, Serialize)]
pub struct Moved {
    /// The files, by their old and new names.
    pub files: Vec<(FileName, FileName)>,
    /// Who gained and who lost access to each file, by its old name.
    pub access: BTreeMap<FileName, Access>,
}

/// Renames a secret.
pub fn mv(session: &mut Session, old: &SecretName, new: &SecretName) -> Result<Moved> {
    let (git, journal) = session.lock()?;
    let policy = &session.fleet.policy;
    let Some(secret) = policy.secrets.get(old.as_str()) else { return Err(unknown(session, &old.file())) };
    if old == new {
        return Err(Error::usage(format!("{new} is its name already")).help("choose another name"));
    }
    if policy.secrets.contains_key(new.as_str()) {
        return Err(Error::usage(format!("there is a secret {new} already")).help("choose another name"));
    }
    let pairs: Vec<(FileName, FileName)> = if secret.per_host {
        secret.hosts.iter().map(|host| (old.file_of(host), new.file_of(host))).collect()
    } else {
        vec![(old.file(), new.file())]
    };
    let mut edit = Edit::new(&session.fleet.text)?;
    edit.rename(old, new)?;
    let mut changes = Changes::default();
    adopt_policy(session, edit.text(), &mut changes)?;
    let mut files = Vec::new();
    let mut accesses = Vec::new();
    let past = Past::of(&session.fleet.git);
    let wanted = session.fleet.policy.wanted();
    for (from, to) in pairs {
        let Some(bytes) = session.fleet.sealed(&from)? else { continue };
        signals::check()?;
        if session.fleet.sealed(&to)?.is_some() {
            return Err(Error::failed(format!("{} is there already", to.path()))
                .help("remove it first: no secret in the policy asks for it"));
        }
        let identities = session.identities()?;
        let opened = age::open(&bytes, &from, &identities)?;
        let recipients = session.fleet.policy.recipients_of(&wanted[&to].hosts);
        let current = recipients.keys().copied().collect();
        let seal = opened.seal.ok_or_else(|| unadopted(&from))?;
        let keys = past.keys(&session.fleet.policy, &age::envelope_of(&bytes));
        accesses.push((from.clone(), Access::of_seal(&seal, &current, &keys)));
        let seal = Seal { name: to.clone(), ..seal.same_value(current) };
        let sealed = session.sealer(recipients.into_values())?.seal(&opened.value, &seal)?;
        changes.write(to.path(), None, sealed);
        changes.remove(from.path(), &bytes);
        if let Some(public) = session.fleet.public_half(&from)? {
            changes.remove(public_path(&from), &public);
            changes.write(public_path(&to), None, public);
        }
        files.push((from, to));
    }
    agree(session, &past, &accesses, &Terms::default())?;
    session.commit(&git, &journal, &changes)?;
    Ok(Moved { files, access: accesses.into_iter().collect() })
}

/// The error for sealing the value of a file without a seal: it could be the value of another secret.
pub fn unadopted(file: &FileName) -> Error {
    Error::integrity(format!("{} has no seal: nothing says that it is this secret", file.path())).help(format!(
        "`sealift check` says who would gain access; if that is intended: `sealift rekey --adopt {file}`"
    ))
}

/// Removes a sealed file and its public half. Returns whether the file existed.
pub fn remove_file(session: &Session, file: &FileName, changes: &mut Changes) -> Result<bool> {
    let sealed = session.fleet.sealed(file)?;
    if let Some(bytes) = &sealed {
        changes.remove(file.path(), bytes);
    }
    if let Some(public) = session.fleet.public_half(file)? {
        changes.remove(public_path(file), &public);
    }
    Ok(sealed.is_some())
}

#[derive(Debug, Serialize)]
pub struct Removed {
    pub files: Vec<FileName>,
    /// Whether a declaration was removed too.
    pub declared: bool,
}

/// Removes a secret's declaration and files, or a file that no secret uses.
pub fn rm(session: &mut Session, name: &FileName, yes: bool) -> Result<Removed> {
    let (git, journal) = session.lock()?;
    let policy = &session.fleet.policy;
    let declared = policy.secrets.get_key_value(name.as_str());
    let files: Vec<FileName> = match declared {
        Some((secret, declared)) => Policy::wanted_of(secret, declared).into_iter().map(|wanted| wanted.file).collect(),
        None => match policy.wanted().get(name).map(|wanted| wanted.name) {
            Some(secret) => {
                return Err(Error::usage(format!(
                    "{name} is one host's value of a secret that the policy gives to that host"
                ))
                .help(format!(
                    "remove the host from `hosts` of [secrets.\"{secret}\"] first, or remove the whole secret: `sealift rm {secret}`"
                )));
            }
            None => vec![name.clone()],
        },
    };
    let mut changes = Changes::default();
    let mut removed = Vec::new();
    for file in files {
        if remove_file(session, &file, &mut changes)? {
            removed.push(file);
        }
    }
    let was_declared = declared.map(|(secret, _)| secret.clone());
    if removed.is_empty() && was_declared.is_none() {
        return Err(unknown(session, name));
    }
    let stays = match removed.len() {
        0 => "It has no sealed file here; a value that it had before stays".to_owned(),
        1 => "Its sealed file stays in the git history, and its value stays".to_owned(),
        many => format!("Its {many} sealed files stay in the git history, and their values stay"),
    };
    let question = format!("Remove {name}? {stays} known to those who had access.");
    if !yes && !session.talk.confirm(&question)? {
        return Err(Error::failed(format!("{name} was not removed")).help("`--yes` removes without asking"));
    }
    if let Some(secret) = &was_declared {
        let mut edit = Edit::new(&session.fleet.text)?;
        edit.undeclare(secret)?;
        adopt_policy(session, edit.text(), &mut changes)?;
    }
    session.commit(&git, &journal, &changes)?;
    Ok(Removed { files: removed, declared: was_declared.is_some() })
}
