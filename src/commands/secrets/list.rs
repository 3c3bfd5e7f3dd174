//! `list` and `who`: what there is, who can read it, and who ever could.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::commands::Session;
use crate::commands::secrets::show::unknown;
use crate::commands::talk::Event;
use crate::domain::drift::access::{Access, Reader};
use crate::domain::drift::status::{Standing, credible};
use crate::domain::name::{FileName, HostName};
use crate::domain::policy::{Policy, Wanted};
use crate::domain::secret::inventory::Found;
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::domain::secret::seal::Seal;
use crate::error::{Error, Result};

/// One sealed file, or one that is to be.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The file's name.
    pub file: FileName,
    /// The secret whose value it holds.
    pub secret: String,
    /// How it stands.
    pub state: State,
    /// Which value it holds; none: not known.
    pub serial: Option<u64>,
    /// The day on which that value was made.
    pub made: Option<String>,
    /// The form of its payload.
    pub shape: String,
    /// The readers that the policy names, admins left out.
    pub hosts: Vec<HostName>,
    /// Where it is found on a host.
    pub path: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// How a file stands to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In line.
    Sealed,
    /// Its readers are not those of the policy.
    Drift,
    /// There is no file yet.
    Missing,
    /// Another tool sealed it.
    Unsealed,
    /// It cannot be opened, or is not what its seal says.
    Damaged,
}

/// Every file that the policy asks for.
///
/// # Errors
/// When `secrets/` cannot be read.
pub fn list(session: &Session) -> Result<Vec<Row>> {
    let inventory = session.fleet.inventory()?;
    let policy = &session.fleet.policy;
    let (known, holders) = (policy.known_keys(), policy.holders());
    let row = |wanted: Wanted<'_>| {
        let found = inventory.files.get(&wanted.file);
        let should = policy.recipients_of(&wanted.hosts).into_keys().collect();
        let standing = Standing::of(&wanted.file, found, &should, &known, &holders);
        row(&wanted, &standing, found.and_then(Found::seal))
    };
    Ok(policy.wanted().into_values().map(row).collect())
}

fn row(wanted: &Wanted<'_>, standing: &Standing, seal: Option<&Seal>) -> Row {
    let state = match standing {
        Standing::Missing => State::Missing,
        Standing::Broken(_) | Standing::WrongName(_) | Standing::Contradiction(_) => State::Damaged,
        Standing::Unsealed => State::Unsealed,
        Standing::Drift(_) => State::Drift,
        Standing::InLine => State::Sealed,
    };
    let seal = seal.filter(|_| state != State::Damaged);
    Row {
        file: wanted.file.clone(),
        secret: wanted.name.to_string(),
        state,
        serial: seal.map(|seal| seal.serial),
        made: seal.map(|seal| seal.made.to_string()),
        shape: wanted.secret.shape.to_string(),
        hosts: wanted.hosts.iter().map(|host| (*host).clone()).collect(),
        path: wanted.secret.delivery.path.clone(),
        description: wanted.secret.description.clone(),
    }
}

/// Secrets × hosts.
#[derive(Debug, Serialize)]
pub struct Matrix {
    /// The columns.
    pub hosts: Vec<HostName>,
    /// The rows: a file, and a cell for each host.
    pub rows: Vec<(FileName, Vec<Cell>)>,
}

/// What a host is to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// It can read it, and should.
    Reads,
    /// It should, and cannot.
    Lacks,
    /// It can, and should not.
    Extra,
    /// It cannot any more, but knows the value.
    Knows,
    /// Nothing.
    None,
}

/// The matrix of a fleet, by the seals and the policy.
///
/// # Errors
/// When `secrets/` cannot be read.
pub fn matrix(session: &Session) -> Result<Matrix> {
    let inventory = session.fleet.inventory()?;
    let policy = &session.fleet.policy;
    let known = policy.known_keys();
    let cell = |seal: Option<&Seal>, wanted: &Wanted<'_>, host: &HostName| {
        let keys: Vec<Fingerprint> = policy.hosts[host.as_str()].keys.iter().map(Recipient::fingerprint).collect();
        let reads = seal.is_some_and(|seal| keys.iter().all(|key| seal.current.contains(key)));
        let knows = seal.is_some_and(|seal| keys.iter().any(|key| seal.former.contains(key)));
        match (wanted.hosts.contains(&host), reads) {
            (true, true) => Cell::Reads,
            (true, false) => Cell::Lacks,
            (false, true) => Cell::Extra,
            (false, false) if knows => Cell::Knows,
            (false, false) => Cell::None,
        }
    };
    let hosts: Vec<HostName> = policy.hosts.keys().cloned().collect();
    let rows = policy.wanted().into_values().map(|wanted| {
        let seal = credible(&wanted.file, inventory.files.get(&wanted.file), &known).ok();
        let cells = hosts.iter().map(|host| cell(seal, &wanted, host)).collect();
        (wanted.file, cells)
    });
    Ok(Matrix { rows: rows.collect(), hosts })
}

/// Who can read a file now, and who else ever could read the value that it holds.
#[derive(Debug, Serialize)]
pub struct Readers {
    /// The file.
    pub file: FileName,
    /// Who can open it, by its seal.
    pub now: Vec<String>,
    /// Who cannot any more, but knows the value.
    pub knew: Vec<String>,
    /// Where the seal and the policy differ.
    pub drift: Drift,
}

/// Where a seal and the policy differ.
#[derive(Debug, Serialize)]
pub struct Drift {
    /// Should read it and cannot.
    pub missing: BTreeSet<Reader>,
    /// Can read it and should not.
    pub extra: BTreeSet<Reader>,
}

/// The readers of a secret's files.
///
/// # Errors
/// When there is no such secret, or its file has no seal to read.
pub fn readers(session: &Session, name: &FileName) -> Result<Vec<Readers>> {
    let policy = &session.fleet.policy;
    let inventory = session.fleet.inventory()?;
    let wanted = policy.wanted();
    let files: Vec<&Wanted<'_>> =
        wanted.values().filter(|wanted| wanted.file == *name || wanted.name.as_str() == name.as_str()).collect();
    if files.is_empty() {
        return Err(unknown(session, name));
    }
    let (known, holders) = (policy.known_keys(), policy.holders());
    let names = |keys: &BTreeSet<Fingerprint>| {
        let names: BTreeSet<String> = keys.iter().map(|key| Reader::of(key, &holders).to_string()).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    files
        .into_iter()
        .map(|wanted| {
            let seal = credible(&wanted.file, inventory.files.get(&wanted.file), &known)
                .map_err(|standing| silent(&wanted.file, &standing))?;
            let should = policy.recipients_of(&wanted.hosts).into_keys().collect();
            let Access { gains, loses, .. } = Access::of_seal(seal, &should, &holders);
            Ok(Readers {
                file: wanted.file.clone(),
                now: names(&seal.current),
                knew: names(&seal.former),
                drift: Drift { missing: gains, extra: loses },
            })
        })
        .collect()
}

/// The failure of a file that does not tell who can read it.
fn silent(file: &FileName, standing: &Standing) -> Error {
    let path = file.path();
    match standing {
        Standing::Missing => {
            Error::usage(format!("{file} has no value yet")).help(format!("seal one: `sealift seal {file}`"))
        }
        Standing::Broken(fault) => Error::integrity(format!("{path}: {fault}")).help(fault.advice()),
        Standing::Unsealed => Error::integrity(format!("{path} has no seal, so it does not say who can read it"))
            .help(format!("`sealift check` says who would gain access; `sealift rekey --adopt {file}` adds one")),
        other => Error::integrity(format!("{path}: {}", other.damage().unwrap_or_default()))
            .help("restore it from git; `sealift check` says more"),
    }
}

/// What a host can read now, and which present values it could ever read.
#[derive(Debug, Serialize)]
pub struct Knowledge {
    /// The host.
    pub host: HostName,
    /// Whether it was removed.
    pub retired: bool,
    /// The files that it can open.
    pub reads: Vec<FileName>,
    /// The files that it cannot open, but whose value it knows.
    pub knows: Vec<FileName>,
}

/// What a host, present or removed, can read or knows.
///
/// # Errors
/// When there is no such host.
pub fn knowledge(session: &Session, host: &HostName) -> Result<Knowledge> {
    let keys = keys_of(&session.fleet.policy, host)?;
    let inventory = session.fleet.inventory()?;
    let known = session.fleet.policy.known_keys();
    let mut reads = Vec::new();
    let mut knows = Vec::new();
    for (file, found) in &inventory.files {
        let seal = match credible(file, Some(found), &known) {
            Ok(seal) => seal,
            Err(standing) => {
                // Who can read it is not known: silence would pass for nobody.
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
    Ok(Knowledge { host: host.clone(), retired: !session.fleet.policy.hosts.contains_key(host), reads, knows })
}

/// The keys of a host, present or removed; those it had before and those it has.
fn keys_of(policy: &Policy, host: &HostName) -> Result<BTreeSet<Fingerprint>> {
    let present = policy.hosts.get(host).map(|host| &host.keys);
    let former = policy.retired.get(host).map(|gone| &gone.keys);
    if present.is_none() && former.is_none() {
        return Err(policy.no_host(host));
    }
    Ok(present.into_iter().chain(former).flatten().map(Recipient::fingerprint).collect())
}
