//! `list` and `who`: what there is, who can read it, and who ever could.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::Serialize;

use crate::commands::Session;
use crate::commands::hosts::select::select;
use crate::commands::past::Past;
use crate::commands::secrets::show::unknown;
use crate::commands::talk::Event;
use crate::domain::drift::access::{Access, Reader};
use crate::domain::drift::lacking::Lacking;
use crate::domain::drift::status::{Standing, credible};
use crate::domain::name::{AdminName, FileName, HostName, SecretName, Tag, nearest};
use crate::domain::policy::{Holder, Policy, Selector, Wanted};
use crate::domain::secret::inventory::Found;
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::domain::secret::seal::Seal;
use crate::error::{Error, Result};

/// One sealed file, or one that is to be.
#[derive(Debug, Serialize)]
pub struct Row {
    pub file: FileName,
    /// The secret whose value it holds.
    pub secret: String,
    pub state: State,
    /// Which value it holds; none: not known.
    pub serial: Option<u64>,
    /// The day on which that value was made.
    pub made: Option<String>,
    /// The form of its payload.
    pub shape: String,
    /// The readers that the policy names, admins left out.
    pub hosts: Vec<HostName>,
    /// The day on which the value expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// In how many days that is; negative: so long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i32>,
    /// After how many days it is to be rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_every: Option<u32>,
    /// The day on which it is due for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// Whether that day has come.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
    /// The same as recipients.toml has them: names, `@tags`, `*`.
    pub selectors: Vec<String>,
    /// Where it is found on a host.
    pub path: String,
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

/// Every file that the policy asks for; where hosts are named, every one that one of them should read.
pub fn list(session: &Session, words: &[Selector]) -> Result<Vec<Row>> {
    let inventory = session.fleet.inventory()?;
    let policy = &session.fleet.policy;
    let chosen = select(policy, words)?;
    let meant = |wanted: &Wanted<'_>| words.is_empty() || wanted.hosts.iter().any(|host| chosen.contains(*host));
    let keys = policy.keys();
    let row = |wanted: Wanted<'_>| {
        let found = inventory.files.get(&wanted.file);
        let should = policy.recipients_of(&wanted.hosts).into_keys().collect();
        let standing = Standing::of(&wanted.file, found, &should, &keys);
        row(&wanted, &standing, found.and_then(Found::seal), session.today)
    };
    Ok(policy.wanted().into_values().filter(meant).map(row).collect())
}

/// Who reads a file, as recipients.toml has it; a value of a host's own is that host's.
fn selectors(wanted: &Wanted<'_>) -> Vec<String> {
    if wanted.secret.per_host {
        wanted.hosts.iter().map(ToString::to_string).collect()
    } else {
        wanted.secret.selectors.iter().map(ToString::to_string).collect()
    }
}

fn row(wanted: &Wanted<'_>, standing: &Standing, seal: Option<&Seal>, today: Date) -> Row {
    let state = match standing {
        Standing::Missing => State::Missing,
        Standing::Broken(_) | Standing::WrongName(_) | Standing::Contradiction(_) => State::Damaged,
        Standing::Unsealed => State::Unsealed,
        Standing::Drift(_) => State::Drift,
        Standing::InLine => State::Sealed,
    };
    let seal = seal.filter(|_| state != State::Damaged);
    let expires = wanted.secret.expires;
    let every = wanted.secret.rotate_every.map(NonZeroU32::get);
    let due = seal.zip(every).and_then(|(seal, every)| seal.made.checked_add(i64::from(every).days()).ok());
    Row {
        expires: expires.map(|end| end.to_string()),
        expires_in: expires.map(|end| (end - today).get_days()),
        rotate_every: every,
        overdue: due.is_some_and(|due| due <= today),
        due: due.map(|due| due.to_string()),
        file: wanted.file.clone(),
        secret: wanted.name.to_string(),
        state,
        serial: seal.map(|seal| seal.serial),
        made: seal.map(|seal| seal.made.to_string()),
        shape: wanted.secret.shape.to_string(),
        hosts: wanted.hosts.iter().map(|host| (*host).clone()).collect(),
        selectors: selectors(wanted),
        path: wanted.secret.delivery.path.clone(),
        description: wanted.secret.description.clone(),
    }
}

#[derive(Debug, Serialize)]
pub struct Matrix {
    pub hosts: Vec<HostName>,
    /// The rows: a file, and a cell for each host.
    pub rows: Vec<(FileName, Vec<Cell>)>,
    /// Who reads each of them as recipients.toml has it: names, `@tags`, `*`.
    pub selectors: BTreeMap<FileName, Vec<String>>,
    /// How many files are left out: none of the hosts that were named has to do with them.
    pub left_out: usize,
    /// The secret, and the host, of each file that a host has for itself.
    #[serde(skip)]
    pub own: BTreeMap<FileName, (SecretName, HostName)>,
}

#[derive(Debug, Serialize)]
pub struct ByTag {
    /// The columns: `@tags`, then the hosts without one.
    pub columns: Vec<String>,
    /// The rows: a file, and a cell for each column.
    pub rows: Vec<(FileName, Vec<Cell>)>,
    /// As of the matrix by hosts.
    pub selectors: BTreeMap<FileName, Vec<String>>,
    pub left_out: usize,
}

/// What a host, or the hosts of a tag, are to a file. The weightiest is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// Nothing.
    None,
    /// It cannot read it any more, but knows the value.
    Knows,
    /// It can read it, and should.
    Reads,
    /// Some of the hosts can read it, and should; the others should not.
    Some,
    /// It can, and should not.
    Extra,
    /// It should, and cannot.
    Lacks,
}

/// The matrix of a fleet, by the seals and the policy. Where hosts are named, of these, and of the files that have to do with
/// them.
pub fn matrix(session: &Session, words: &[Selector]) -> Result<Matrix> {
    let inventory = session.fleet.inventory()?;
    let policy = &session.fleet.policy;
    let chosen = select(policy, words)?;
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
    let named = |host: &&HostName| words.is_empty() || chosen.contains(*host);
    let hosts: Vec<HostName> = policy.hosts.keys().filter(named).cloned().collect();
    let mut matrix = Matrix { hosts, rows: Vec::new(), selectors: BTreeMap::new(), left_out: 0, own: BTreeMap::new() };
    for wanted in policy.wanted().into_values() {
        let seal = credible(&wanted.file, inventory.files.get(&wanted.file), &known).ok();
        let cells: Vec<Cell> = matrix.hosts.iter().map(|host| cell(seal, &wanted, host)).collect();
        if !words.is_empty() && cells.iter().all(|cell| *cell == Cell::None) {
            matrix.left_out += 1;
            continue;
        }
        matrix.selectors.insert(wanted.file.clone(), selectors(&wanted));
        if let (true, [host]) = (wanted.secret.per_host, &wanted.hosts[..]) {
            matrix.own.insert(wanted.file.clone(), (wanted.name.clone(), (*host).clone()));
        }
        matrix.rows.push((wanted.file, cells));
    }
    Ok(matrix)
}

/// The same by the tags of the hosts.
pub fn by_tag(policy: &Policy, matrix: Matrix) -> ByTag {
    let tags = |host: &HostName| policy.hosts.get(host).map(|entry| &entry.tags);
    let all: BTreeSet<&Tag> = matrix.hosts.iter().filter_map(tags).flatten().collect();
    let mut columns: Vec<(String, Vec<usize>)> = Vec::new();
    for tag in all {
        let has = |at: &usize| matrix.hosts.get(*at).and_then(tags).is_some_and(|tags| tags.contains(tag));
        columns.push((format!("@{tag}"), (0..matrix.hosts.len()).filter(has).collect()));
    }
    let bare = matrix.hosts.iter().enumerate().filter(|(_, host)| tags(host).is_none_or(BTreeSet::is_empty));
    columns.extend(bare.map(|(at, host)| (host.to_string(), vec![at])));
    let row = |(file, cells): (FileName, Vec<Cell>)| {
        let of = |at: &usize| cells.get(*at).copied().unwrap_or(Cell::None);
        let cells = columns.iter().map(|(_, hosts)| together(hosts.iter().map(of))).collect();
        (file, cells)
    };
    ByTag {
        rows: matrix.rows.into_iter().map(row).collect(),
        columns: columns.into_iter().map(|(name, _)| name).collect(),
        selectors: matrix.selectors,
        left_out: matrix.left_out,
    }
}

/// What several hosts are to a file together: what is wrong with one of them is not hidden by the others.
fn together(cells: impl Iterator<Item = Cell>) -> Cell {
    let found: BTreeSet<Cell> = cells.collect();
    match found.last() {
        Some(Cell::Reads) if found.len() > 1 => Cell::Some,
        Some(worst) => *worst,
        None => Cell::None,
    }
}

/// Who can read a file now, and who else ever could read the value that it holds.
#[derive(Debug, Serialize)]
pub struct Readers {
    pub file: FileName,
    /// Who can open it, by its seal.
    pub now: Vec<String>,
    /// By which keys each of them can.
    pub keys: BTreeMap<String, Vec<String>>,
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
pub fn readers(session: &Session, name: &FileName) -> Result<Vec<Readers>> {
    let policy = &session.fleet.policy;
    let inventory = session.fleet.inventory()?;
    let wanted = policy.wanted();
    let files: Vec<&Wanted<'_>> =
        wanted.values().filter(|wanted| wanted.file == *name || wanted.name.as_str() == name.as_str()).collect();
    if files.is_empty() {
        return Err(unknown(session, name));
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
                .map_err(|standing| silent(wanted, &standing))?;
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

/// The failure of a file that does not tell who can read it.
fn silent(wanted: &Wanted<'_>, standing: &Standing) -> Error {
    let (file, path) = (&wanted.file, wanted.file.path());
    match standing {
        Standing::Missing => Error::usage(format!("{file} has no value yet"))
            .help(format!("give it one: {}", Lacking::of(wanted).help())),
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
    pub host: HostName,
    pub retired: bool,
    /// The files that it can open.
    pub reads: Vec<FileName>,
    /// The files that it cannot open, but whose value it knows.
    pub knows: Vec<FileName>,
}

/// What a host, present or removed, can read or knows.
pub fn knowledge(session: &Session, host: &HostName) -> Result<Knowledge> {
    let (reads, knows) = known_by(session, &keys_of(&session.fleet.policy, host)?)?;
    Ok(Knowledge { host: host.clone(), retired: !session.fleet.policy.hosts.contains_key(host), reads, knows })
}

/// The files that one of these keys can open, and those whose value it knows.
pub fn known_by(session: &Session, keys: &BTreeSet<Fingerprint>) -> Result<(Vec<FileName>, Vec<FileName>)> {
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
    Ok((reads, knows))
}

/// The keys of a host or an admin, present or removed. A host comes first: with an admin of the same name everything would be
/// exposed.
pub fn keys_by_name(session: &Session, name: &AdminName) -> Result<BTreeSet<Fingerprint>> {
    let policy = &session.fleet.policy;
    let host = name.as_str().parse::<HostName>().ok();
    if let Some(host) =
        host.as_ref().filter(|host| policy.hosts.contains_key(*host) || policy.retired.contains_key(*host))
    {
        return keys_of(policy, host);
    }
    if let Some(keys) = policy.admins.get(name) {
        return Ok(keys.iter().map(Recipient::fingerprint).collect());
    }
    let (past, inventory) = (Past::of(&session.fleet.root), session.fleet.inventory()?);
    let holders = past.keys(policy, inventory.envelopes()).holders;
    let named = |holder: &Holder| matches!(holder, Holder::Past(past) if past == name.as_str());
    let keys: BTreeSet<Fingerprint> =
        holders.into_iter().filter(|(_, holder)| named(holder)).map(|(key, _)| key).collect();
    if keys.is_empty() { Err(nobody(policy, name)) } else { Ok(keys) }
}

fn nobody(policy: &Policy, name: &AdminName) -> Error {
    let known = policy.hosts.keys().chain(policy.retired.keys()).map(HostName::as_str);
    let near = nearest(name.as_str(), known.chain(policy.admins.keys().map(AdminName::as_str)));
    Error::usage(format!("there is no host or admin {name}, and no sealed file has a past reader of this name")).help(
        near.map_or_else(
            || "`sealift host list` and `sealift admin list` show those of today".to_owned(),
            |near| format!("did you mean {near}?"),
        ),
    )
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
