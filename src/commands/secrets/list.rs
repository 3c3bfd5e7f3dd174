//! `list`: the files of the policy, and the state of each.

use std::num::NonZeroU32;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::Serialize;

use crate::commands::Session;
use crate::commands::hosts::select::select;
use crate::domain::drift::status::Standing;
use crate::domain::name::{FileName, HostName};
use crate::domain::policy::{Selector, Wanted};
use crate::domain::secret::inventory::Found;
use crate::domain::secret::seal::Seal;
use crate::error::Result;

/// One sealed or missing file.
#[derive(Debug, Serialize)]
pub struct Row {
    pub file: FileName,
    /// The secret whose value it holds.
    pub secret: String,
    pub state: State,
    /// The serial of its value, if known.
    pub serial: Option<u64>,
    /// The date on which the value was made.
    pub made: Option<String>,
    /// The shape of the value.
    pub shape: String,
    /// The hosts that read it by the policy, without admins.
    pub hosts: Vec<HostName>,
    /// The date on which the value expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The number of days until then; negative if it has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i32>,
    /// The number of days after which to rotate it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_every: Option<u32>,
    /// The date on which the next rotation is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// Whether that date has come.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
    /// The readers as written in recipients.toml: names, `@tags`, `*`.
    pub selectors: Vec<String>,
    /// Its path on a host.
    pub path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// The state of a file compared with the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Sealed,
    /// Its readers are not those of the policy.
    Drift,
    /// There is no file yet.
    Missing,
    /// Another tool wrote it, without a seal.
    Unsealed,
    /// It cannot be opened, or contradicts its seal.
    Damaged,
}

/// Returns every file of the policy or, if hosts are named, those that one of them should read.
pub fn list(session: &Session, words: &[Selector]) -> Result<Vec<Row>> {
    let inventory = session.fleet.inventory()?;
    let policy = &session.fleet.policy;
    let chosen = select(policy, words)?;
    let selected = |wanted: &Wanted<'_>| words.is_empty() || wanted.hosts.iter().any(|host| chosen.contains(*host));
    let keys = policy.keys();
    let row = |wanted: Wanted<'_>| {
        let found = inventory.files.get(&wanted.file);
        let should = policy.recipients_of(&wanted.hosts).into_keys().collect();
        let standing = Standing::of(&wanted.file, found, &should, &keys);
        row(&wanted, &standing, found.and_then(Found::seal), session.today)
    };
    Ok(policy.wanted().into_values().filter(selected).map(row).collect())
}

/// Returns the readers of a file as written in recipients.toml. A per-host value has its own host.
pub fn selectors(wanted: &Wanted<'_>) -> Vec<String> {
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
