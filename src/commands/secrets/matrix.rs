//! `list --matrix`: which host, or which hosts of a tag, can read which file, by the seals and the policy.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::commands::Session;
use crate::commands::hosts::select::select;
use crate::commands::secrets::list::selectors;
use crate::domain::drift::status::credible;
use crate::domain::name::{FileName, HostName, SecretName, Tag};
use crate::domain::policy::{Policy, Selector, Wanted};
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::domain::secret::seal::Seal;
use crate::error::Result;

#[derive(Debug, Serialize)]
pub struct Matrix {
    pub hosts: Vec<HostName>,
    /// A row for each file, with a cell for each host.
    pub rows: Vec<(FileName, Vec<Cell>)>,
    /// The readers of each file as written in recipients.toml: names, `@tags`, `*`.
    pub selectors: BTreeMap<FileName, Vec<String>>,
    /// How many files are left out because no named host is related to them.
    pub left_out: usize,
    /// The secret and the host of each per-host file.
    #[serde(skip)]
    pub own: BTreeMap<FileName, (SecretName, HostName)>,
}

#[derive(Debug, Serialize)]
pub struct ByTag {
    /// The columns: `@tags`, then the hosts without a tag.
    pub columns: Vec<String>,
    /// A row for each file, with a cell for each column.
    pub rows: Vec<(FileName, Vec<Cell>)>,
    /// As in the matrix by hosts.
    pub selectors: BTreeMap<FileName, Vec<String>>,
    pub left_out: usize,
}

/// The access of a host, or of the hosts of a tag, to a file. Later variants take precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    None,
    /// It cannot read the file any more, but knows the value.
    Knows,
    /// It can read the file, and should.
    Reads,
    /// Some of the hosts can read the file, and should; the others should not.
    Some,
    /// It can read the file, and should not.
    Extra,
    /// It should read the file, and cannot.
    Lacks,
}

/// Returns the matrix of a fleet, by the seals and the policy. If hosts are named, only these hosts and the files
/// related to them.
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

/// Returns the matrix by the tags of the hosts.
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

/// Combines the cells of several hosts. A problem of one of them is not hidden by the others.
fn together(cells: impl Iterator<Item = Cell>) -> Cell {
    let found: BTreeSet<Cell> = cells.collect();
    match found.last() {
        Some(Cell::Reads) if found.len() > 1 => Cell::Some,
        Some(worst) => *worst,
        None => Cell::None,
    }
}
