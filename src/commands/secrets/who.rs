//! `who`: who can read a secret and who ever could, and what a host can read or knows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::commands::Session;
use crate::commands::past::Past;
use crate::commands::secrets::show::{unknown, without_value};
use crate::commands::talk::Event;
use crate::domain::drift::access::{Access, Reader};
use crate::domain::drift::status::{Standing, credible};
use crate::domain::name::{AdminName, FileName, HostName, HostWord, nearest};
use crate::domain::policy::{Holder, Policy, Wanted};
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::error::{Error, Result};

/// Who can read a file now, and who else ever could read its present value.
#[derive(Debug, Serialize)]
pub struct Readers {
    pub file: FileName,
    /// Who can decrypt it, by its seal.
    pub now: Vec<String>,
    /// The keys with which each of them can.
    pub keys: BTreeMap<String, Vec<String>>,
    /// Who cannot any more, but knows the value.
    pub knew: Vec<String>,
    /// Where the seal and the policy differ.
    pub drift: Drift,
}

/// Where a seal and the policy differ.
#[derive(Debug, Serialize)]
pub struct Drift {
    /// Those who should read it and cannot.
    pub missing: BTreeSet<Reader>,
    /// Those who can read it and should not.
    pub extra: BTreeSet<Reader>,
}

/// Returns the readers of a secret's files.
pub fn readers(session: &Session, name: &FileName) -> Result<Vec<Readers>> {
    let policy = &session.fleet.policy;
    let inventory = session.fleet.inventory()?;
    let wanted = policy.wanted();
    let files: Vec<&Wanted<'_>> =
        wanted.values().filter(|wanted| wanted.file == *name || wanted.name.as_str() == name.as_str()).collect();
    if files.is_empty() {
        return Err(is_host(policy, name.as_str()).unwrap_or_else(|| unknown(session, name)));
    }
    let keys = policy.keys();
    let by_name = |of: &BTreeSet<Fingerprint>| {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in of {
            let shown = keys.known.get(key).map_or_else(|| key.to_string(), |recipient| recipient.shown());
            names.entry(Reader::of(key, &keys.holders).to_string()).or_default().push(shown);
        }
        names
    };
    files
        .into_iter()
        .map(|wanted| {
            let seal = credible(&wanted.file, inventory.files.get(&wanted.file), &keys.known)
                .map_err(|standing| silent(session, wanted, &standing))?;
            let should = policy.recipients_of(&wanted.hosts).into_keys().collect();
            let Access { gains, loses, .. } = Access::of_seal(seal, &should, &keys);
            let now = by_name(&seal.current);
            Ok(Readers {
                file: wanted.file.clone(),
                now: now.keys().cloned().collect(),
                keys: now,
                knew: by_name(&seal.former).into_keys().collect(),
                drift: Drift { missing: gains, extra: loses },
            })
        })
        .collect()
}

/// The failure of a host's name where a secret's belongs, or of one that is like it and can be no secret's.
pub fn is_host(policy: &Policy, word: &str) -> Option<Error> {
    let like = || policy.like(word).filter(|_| word.parse::<FileName>().is_err());
    let host = host_of(policy, word).or_else(like)?;
    let error = Error::usage(format!("there is no secret {word}"));
    Some(error.help(format!("what the host {host} reads: `sealift who --host {host}`")))
}

/// The error for a file that does not say who can read it.
fn silent(session: &Session, wanted: &Wanted<'_>, standing: &Standing) -> Error {
    let (file, path) = (&wanted.file, wanted.file.path());
    match standing {
        Standing::Missing => without_value(session, wanted),
        Standing::Unsealed => Error::integrity(format!("{path} has no seal, so it does not say who can read it")).help(
            format!("`sealift check` says who would gain access; if that is intended: `sealift rekey --adopt {file}`"),
        ),
        other => Error::integrity(format!("{path}: {}", other.damage().unwrap_or_default())).help(other.advice(file)),
    }
}

/// What a host can read now, and which present values it could ever read.
#[derive(Debug, Serialize)]
pub struct Knowledge {
    pub host: HostName,
    pub retired: bool,
    /// The files that it can decrypt.
    pub reads: Vec<FileName>,
    /// The files that it cannot decrypt, but whose value it knows.
    pub knows: Vec<FileName>,
}

/// Returns what a host, present or removed, can read or knows.
pub fn knowledge(session: &Session, word: &HostWord) -> Result<Knowledge> {
    let policy = &session.fleet.policy;
    let host = host_of(policy, word.as_str()).ok_or_else(|| policy.no_host(word.as_str()))?;
    let (reads, knows) = known_by(session, &keys_of(policy, host))?;
    Ok(Knowledge { host: host.clone(), retired: !policy.hosts.contains_key(host), reads, knows })
}

/// Returns the files that one of these keys can decrypt, and those whose value it knows.
pub fn known_by(session: &Session, keys: &BTreeSet<Fingerprint>) -> Result<(Vec<FileName>, Vec<FileName>)> {
    let inventory = session.fleet.inventory()?;
    let known = session.fleet.policy.known_keys();
    let mut reads = Vec::new();
    let mut knows = Vec::new();
    for (file, found) in &inventory.files {
        let seal = match credible(file, Some(found), &known) {
            Ok(seal) => seal,
            Err(standing) => {
                // Who can read it is unknown: omitting it silently would look like nobody.
                let why = standing.damage().unwrap_or_else(|| "it has no seal".to_owned());
                let text = format!("{}: {why}; left out, since it does not say who can read it", file.path());
                session.talk.event(Event::Warning(text));
                continue;
            }
        };
        if keys.iter().any(|key| seal.current.contains(key)) {
            reads.push(file.clone());
        } else if keys.iter().any(|key| seal.former.contains(key)) {
            knows.push(file.clone());
        }
    }
    Ok((reads, knows))
}

/// Returns the keys of a host or an admin, present or removed. A host takes precedence: with an admin of the same name
/// everything would count as exposed.
pub fn keys_by_name(session: &Session, name: &str) -> Result<BTreeSet<Fingerprint>> {
    let policy = &session.fleet.policy;
    if let Some(host) = host_of(policy, name) {
        return Ok(keys_of(policy, host));
    }
    if let Some(keys) = policy.admins.get(name) {
        return Ok(keys.iter().map(Recipient::fingerprint).collect());
    }
    let (past, inventory) = (Past::of(&session.fleet.git), session.fleet.inventory()?);
    let holders = past.keys(policy, inventory.envelopes()).holders;
    let named = |holder: &Holder| matches!(holder, Holder::Past(past) if past == name);
    let keys: BTreeSet<Fingerprint> =
        holders.into_iter().filter(|(_, holder)| named(holder)).map(|(key, _)| key).collect();
    if keys.is_empty() { Err(nobody(policy, name)) } else { Ok(keys) }
}

fn nobody(policy: &Policy, name: &str) -> Error {
    let known = policy.hosts.keys().chain(policy.retired.keys()).map(HostName::as_str);
    let near = nearest(name, known.chain(policy.admins.keys().map(AdminName::as_str)));
    let near = near.or_else(|| policy.like(name).map(HostName::as_str));
    Error::usage(format!("there is no host or admin {name}, and no sealed file has a past reader of this name")).help(
        near.map_or_else(
            || "`sealift host list` and `sealift admin list` show those of today".to_owned(),
            |near| format!("did you mean {near}?"),
        ),
    )
}

/// The host that is called so, present or removed.
fn host_of<'a>(policy: &'a Policy, word: &str) -> Option<&'a HostName> {
    policy.called(word).or_else(|| policy.retired.get_key_value(word).map(|(name, _)| name))
}

/// Returns the present and previous keys of a host, present or removed.
fn keys_of(policy: &Policy, host: &HostName) -> BTreeSet<Fingerprint> {
    let present = policy.hosts.get(host).map(|host| &host.keys);
    let previous = policy.retired.get(host).map(|gone| &gone.keys);
    present.into_iter().chain(previous).flatten().map(Recipient::fingerprint).collect()
}
