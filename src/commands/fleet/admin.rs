//! `admin list|rm`: the admins, who can open every secret. `identity new` creates one.

use serde::Serialize;

use crate::commands::fleet::new_key::has_other;
use crate::commands::fleet::removal::{Removal, known_to};
use crate::commands::secrets::agree::Of;
use crate::commands::secrets::rekey::Report as Rekeyed;
use crate::commands::secrets::who::keys_by_name;
use crate::commands::{Changes, Session, adopt_policy};
use crate::domain::name::{AdminName, FileName};
use crate::domain::policy::edit::Edit;
use crate::domain::policy::{FILE, Policy};
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Result};

/// An admin in the list.
#[derive(Debug, Serialize)]
pub struct Row {
    pub admin: AdminName,
    /// The keys, as `ssh-keygen -l` or age show them.
    pub keys: Vec<String>,
}

pub fn list(policy: &Policy) -> Vec<Row> {
    let row = |(admin, keys): (&AdminName, &Vec<Recipient>)| Row {
        admin: admin.clone(),
        keys: keys.iter().map(listed).collect(),
    };
    policy.admins.iter().map(row).collect()
}

fn listed(key: &Recipient) -> String {
    key.ssh_fingerprint().unwrap_or_else(|| key.canonical().to_owned())
}

/// The result of a removal.
#[derive(Debug, Serialize)]
pub struct Removed {
    pub admin: AdminName,
    /// The removed keys, as listed.
    pub keys: Vec<String>,
    /// Whether the admin stays, with another key.
    pub stays: bool,
    /// Whether `rotate --exposed-to` can find the keys by name, because some commit has them.
    #[serde(skip)]
    pub is_found: bool,
    pub rekeyed: Rekeyed,
    /// Values that these keys could open, and that stay in use until they are rotated.
    pub knew: Vec<FileName>,
    /// How many keys of admins are left.
    pub keys_left: usize,
}

/// Removes an admin, or one of an admin's keys, and re-encrypts every secret for the others.
///
/// Fails if the fleet would have no other admin's key.
pub fn remove(session: &mut Session, name: &AdminName, key: Option<&str>, yes: bool) -> Result<Removed> {
    let (git, journal) = session.lock()?;
    let policy = &session.fleet.policy;
    let keys = chosen(policy, name, key)?;
    if !has_other(policy, &keys) {
        return Err(Error::failed(
            "without it the fleet has no admin: nobody could rekey or edit; nothing was changed",
        )
        .help("add another one first: `sealift identity new --admin NAME`, then `sealift rekey`"));
    }
    let stays = policy.admins.get(name).is_some_and(|all| all.len() > keys.len());
    refuse_own(session, name, &keys)?;
    let mut edit = Edit::new(&session.fleet.text)?;
    edit.remove_admin_keys(name, &keys)?;
    let mut changes = Changes::default();
    adopt_policy(session, edit.text(), &mut changes)?;
    let inventory = session.fleet.inventory()?;
    let removal = Removal { keys: &keys, of: Of::Admin(name), yes };
    let rekeyed = removal.carry_out(session, &inventory, &mut changes)?;
    session.commit(&git, &journal, &changes)?;
    Ok(Removed {
        admin: name.clone(),
        keys: keys.iter().map(listed).collect(),
        stays,
        is_found: !stays && keys_by_name(session, name.as_str()).is_ok(),
        rekeyed,
        knew: known_to(&inventory, &keys).into_iter().collect(),
        keys_left: session.fleet.policy.admins.values().flatten().count(),
    })
}

/// Returns the keys to remove: all of them, or the given one.
fn chosen(policy: &Policy, name: &AdminName, key: Option<&str>) -> Result<Vec<Recipient>> {
    let Some(keys) = policy.admins.get(name) else {
        let error = policy.no_admin(name);
        let host = policy.hosts.contains_key(name.as_str());
        return Err(if host { error.help(format!("it is a host: `sealift host rm {name}`")) } else { error });
    };
    let Some(key) = key else { return Ok(keys.clone()) };
    // A line of recipients.toml may have a comment after the key.
    let named = Recipient::parse(key).ok();
    let found = keys.iter().filter(|one| listed(one) == key || named.as_ref() == Some(*one));
    let found: Vec<Recipient> = found.cloned().collect();
    if found.is_empty() {
        return Err(Error::usage(format!("{name} has no such key in {FILE}"))
            .help("`sealift admin list` shows the keys of each admin"));
    }
    Ok(found)
}

/// Fails if the only available key is among the removed ones. The re-encrypted files could not be opened for
/// verification, and admins could lock themselves out by mistake.
fn refuse_own(session: &Session, name: &AdminName, keys: &[Recipient]) -> Result<()> {
    let identities = session.identities()?;
    let stays =
        |key: &Recipient| session.fleet.policy.admins.values().flatten().any(|one| one == key) && !keys.contains(key);
    let recipients = |found: Vec<(String, Option<Recipient>)>| found.into_iter().filter_map(|(_, key)| key);
    // The key of a plugin is unknown until it is used.
    if recipients(identities.found()).any(|key| stays(&key)) || identities.noted().next().is_some() {
        return Ok(());
    }
    let at_hand: Vec<Recipient> = recipients(identities.unlocked()?).collect();
    if at_hand.iter().any(stays) || !at_hand.iter().any(|key| keys.contains(key)) {
        return Ok(());
    }
    Err(Error::failed(format!("the only key at hand is {name}'s, which is to be removed; nothing was changed"))
        .help("another admin does it, or you with another admin's key: `--identity FILE`"))
}
