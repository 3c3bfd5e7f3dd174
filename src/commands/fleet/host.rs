//! `host add|rm|rekey|list`: the hosts of a fleet. `onboard` collects the facts of a new one. Policy and files change
//! in one step, or not at all.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::adapters::age::generate::generate;
use crate::commands::fleet::removal::{self, Removal};
use crate::commands::past::Past;
use crate::commands::secrets::agree::{Of, Terms, agree};
use crate::commands::secrets::rekey::Report as Rekeyed;
use crate::commands::secrets::rename::remove_file;
use crate::commands::secrets::reseal::{refuse_broken, reseal};
use crate::commands::writer::Writer;
use crate::commands::{Changes, Session, adopt_policy};
use crate::domain::drift::rekey_plan::{RekeyPlan, Scope};
use crate::domain::name::{Configuration, FileName, HostName, SecretName, Tag};
use crate::domain::policy::edit::{Declaration, Edit};
use crate::domain::policy::{FILE, HOST_KEYS, Host, Policy};
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Kind, Result};

#[derive(Debug)]
pub struct New {
    pub name: HostName,
    pub configuration: Configuration,
    pub keys: Vec<Recipient>,
    pub address: Option<String>,
    pub tags: Vec<String>,
    /// Only write the policy; an admin rekeys later.
    pub no_rekey: bool,
    /// Files to create for the host. Existing ones stay unchanged.
    pub files: Vec<(String, String)>,
    /// The private half of a key generated for the host, to be sealed to the admins.
    pub own_key: Option<Plaintext>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostChange {
    Added,
    Rekeyed,
    Removed,
    None,
}

/// The report of a change of a host.
#[derive(Debug, Serialize)]
pub struct Report {
    pub host: HostName,
    /// The name of a new host in the flake, if that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    pub change: HostChange,
    pub rekeyed: Rekeyed,
    /// Files with a value generated for this host.
    pub made: Vec<FileName>,
    /// Files for this host that have no value yet.
    pub missing: Vec<FileName>,
    /// Files removed with the host.
    pub removed: Vec<FileName>,
    /// Values that the host knew, and that stay in use until they are rotated.
    pub knew: Vec<FileName>,
    /// Files of its configuration that were created.
    pub written: Vec<String>,
    /// Files that existed already and stay unchanged.
    pub kept: Vec<String>,
}

/// Adds a host and gives it access to its secrets.
pub fn add(session: &mut Session, new: &New) -> Result<Report> {
    let (git, journal) = session.lock()?;
    refuse_known(&session.fleet.policy, &new.name, &new.keys)?;
    let mut edit = Edit::new(&session.fleet.text)?;
    edit.add_host(&new.name, &new.configuration, &new.keys, new.address.as_deref(), &new.tags)?;
    let own = own_key(&new.name)?;
    if new.own_key.is_some() {
        if session.fleet.policy.secrets.contains_key(own.as_str()) || session.fleet.sealed(&own.file())?.is_some() {
            return Err(Error::usage(format!("there is a secret {own} already"))
                .help(format!("it is a key of a machine of this name: remove it first, `sealift rm {own}`")));
        }
        edit.declare(&own, &declared(&new.name))?;
    }
    let mut changes = Changes::default();
    adopt_policy(session, edit.text(), &mut changes)?;
    let mut report = if new.no_rekey {
        Report::of(&new.name, HostChange::Added)
    } else {
        bring_in_line(session, &new.name, HostChange::Added, &mut changes)?
    };
    report.configuration = Some(new.configuration.clone()).filter(|name| name.as_str() != new.name.as_str());
    if let (Some(value), [key]) = (&new.own_key, new.keys.as_slice()) {
        let wanted = session.fleet.policy.wanted().remove(&own.file());
        let wanted = wanted.ok_or_else(|| Error::new(Kind::Bug, format!("{own} is not declared")))?;
        let public = format!("{} {}", key.canonical(), key.comment());
        let mut writer = Writer::new(session, std::slice::from_ref(&wanted))?;
        writer.new_value(&wanted, value, Some(public), &mut changes)?;
        writer.finish();
        report.made.push(own.file());
    }
    for (path, content) in &new.files {
        if session.fleet.root.join(path).symlink_metadata().is_ok() {
            report.kept.push(path.clone());
        } else {
            changes.write(path.as_str(), None, content.clone().into_bytes());
            report.written.push(path.clone());
        }
    }
    session.commit(&git, &journal, &changes)?;
    Ok(report)
}

/// Fails if the host exists already.
pub fn refuse_known(policy: &Policy, name: &HostName, keys: &[Recipient]) -> Result<()> {
    let Some(known) = policy.hosts.get(name) else { return Ok(()) };
    let same = if known.keys == keys { ", with this very key" } else { "" };
    Err(Error::usage(format!("the host {name} is there already{same}"))
        .help(format!("another key: `sealift host rekey {name} --key-file FILE`; tags and the address: edit [hosts.{name}] in recipients.toml")))
}

/// Returns the name of the secret with a host's own private key.
pub fn own_key(host: &HostName) -> Result<SecretName> {
    format!("{HOST_KEYS}/{host}").parse().map_err(|fault| Error::new(Kind::Bug, format!("{fault}")))
}

fn declared(host: &HostName) -> Declaration {
    let text = format!("the host key of {host}: `sealift host provision {host} --root DIR` puts it in place");
    Declaration { fields: vec![("shape", "ssh-key".to_owned()), ("description", text)], ..Declaration::default() }
}

/// Replaces the keys of a host.
pub fn rekey(session: &mut Session, name: &HostName, keys: &[Recipient]) -> Result<Report> {
    let (git, journal) = session.lock()?;
    let host = session.fleet.policy.host(name)?;
    if host.keys == keys {
        return Ok(Report::of(name, HostChange::None));
    }
    let previous: Vec<Recipient> = host.keys.iter().filter(|key| !keys.contains(key)).cloned().collect();
    let mut edit = Edit::new(&session.fleet.text)?;
    edit.set_host_keys(name, keys)?;
    if !previous.is_empty() {
        edit.retire(name, &previous, &session.today.to_string())?;
    }
    let mut changes = Changes::default();
    adopt_policy(session, edit.text(), &mut changes)?;
    let report = bring_in_line(session, name, HostChange::Rekeyed, &mut changes)?;
    session.commit(&git, &journal, &changes)?;
    let own = own_key(name)?;
    if session.fleet.policy.secrets.contains_key(own.as_str()) {
        session.warn(format!("{own} holds the old key: `sealift rm {own}` removes it"));
    }
    Ok(report)
}

/// Removes a host: re-encrypts everything it could read for the others, and records what it knew.
pub fn remove(session: &mut Session, name: &HostName, yes: bool) -> Result<Report> {
    let (git, journal) = session.lock()?;
    let policy = &session.fleet.policy;
    let host = policy.host(name)?;
    let keys = host.keys.clone();
    let others: BTreeSet<&Tag> =
        policy.hosts.iter().filter(|(other, _)| *other != name).flat_map(|(_, host)| &host.tags).collect();
    let vanished: Vec<Tag> = host.tags.iter().filter(|tag| !others.contains(tag)).cloned().collect();
    let mut own: Vec<FileName> = policy
        .secrets
        .iter()
        .filter(|(_, secret)| secret.per_host && secret.hosts.contains(name))
        .map(|(secret, _)| secret.file_of(name))
        .collect();
    let read_before: BTreeSet<SecretName> =
        policy.secrets.iter().filter(|(_, secret)| !secret.hosts.is_empty()).map(|(name, _)| name.clone()).collect();
    let mut edit = Edit::new(&session.fleet.text)?;
    edit.remove_host(name, &vanished)?;
    // The key generated for the host is removed with it.
    let its_key = own_key(name)?;
    if policy.secrets.get(its_key.as_str()).is_some_and(|secret| secret.hosts.is_empty()) {
        edit.undeclare(&its_key)?;
        own.push(its_key.file());
    }
    edit.retire(name, &keys, &session.today.to_string())?;
    let mut changes = Changes::default();
    adopt_policy(session, edit.text(), &mut changes)?;
    for tag in &vanished {
        session.warn(format!("no host has the tag {tag} any more: `@{tag}` is removed from every list in {FILE}, since it would match nobody"));
    }
    let alone = session.fleet.policy.secrets.iter().filter(|(_, secret)| secret.hosts.is_empty());
    for (secret, _) in alone.filter(|(secret, _)| read_before.contains(secret.as_str())) {
        session.warn(format!("no host receives {secret} any more: only the admins keep it"));
    }
    let inventory = session.fleet.inventory()?;
    let knew = removal::known_to(&inventory, &keys);
    let mut removed = Vec::new();
    for file in own {
        if remove_file(session, &file, &mut changes)? {
            removed.push(file);
        }
    }
    let removal = Removal { keys: &keys, of: Of::Host(name), yes };
    let rekeyed = removal.carry_out(session, &inventory, &mut changes)?;
    session.commit(&git, &journal, &changes)?;
    let knew = knew.into_iter().filter(|file| !removed.contains(file)).collect();
    Ok(Report { rekeyed, removed, knew, ..Report::of(name, HostChange::Removed) })
}

/// Re-encrypts the secrets of a host for it, and generates its per-host values.
fn bring_in_line(session: &Session, host: &HostName, change: HostChange, changes: &mut Changes) -> Result<Report> {
    let policy: &Policy = &session.fleet.policy;
    let inventory = session.fleet.inventory()?;
    let only: BTreeSet<FileName> =
        policy.wanted().into_values().filter(|wanted| wanted.hosts.contains(&host)).map(|wanted| wanted.file).collect();
    let past = Past::of(&session.fleet.git);
    let scope = Scope { only: Some(only), ..Scope::default() };
    let plan = RekeyPlan::rekey(policy, &past.keys(policy, inventory.envelopes()), &inventory, &scope);
    refuse_broken(&plan)?;
    agree(session, &past, &plan.accesses(), &Terms { of: Some(Of::Host(host)), ..Terms::default() })?;
    reseal(session, &plan.reseal, &inventory, changes)?;
    let mut writer = None;
    let (mut made, mut missing) = (Vec::new(), Vec::new());
    for wanted in &plan.missing {
        match wanted.secret.generate.filter(|_| wanted.secret.per_host) {
            None => missing.push(wanted.file.clone()),
            Some(how) => {
                if writer.is_none() {
                    writer = Some(Writer::new(session, &plan.missing)?);
                }
                let value = generate(how, &wanted.secret.shape, wanted.file.as_str())?;
                if let Some(writer) = &mut writer {
                    writer.new_value(wanted, &value.value, value.public, changes)?;
                }
                made.push(wanted.file.clone());
            }
        }
    }
    writer.map(Writer::finish);
    let mut rekeyed = Rekeyed { missing: Vec::new(), ..Rekeyed::of(&session.fleet, &plan, false) };
    rekeyed.lacking.retain(|one| missing.contains(&one.file));
    Ok(Report { rekeyed, made, missing, ..Report::of(host, change) })
}

impl Report {
    /// The report of a change that has not touched any file yet.
    fn of(host: &HostName, change: HostChange) -> Self {
        Self {
            host: host.clone(),
            configuration: None,
            change,
            rekeyed: Rekeyed::default(),
            made: Vec::new(),
            missing: Vec::new(),
            removed: Vec::new(),
            knew: Vec::new(),
            written: Vec::new(),
            kept: Vec::new(),
        }
    }
}

/// A host in the list.
#[derive(Debug, Serialize)]
pub struct Row {
    pub host: HostName,
    /// The name of the host in the flake.
    pub configuration: Configuration,
    pub address: String,
    pub tags: Vec<Tag>,
    /// The keys, as `ssh-keygen -l` or age show them.
    pub keys: Vec<String>,
    /// How many secrets the host reads.
    pub secrets: usize,
}

impl Row {
    /// Returns the host, with its name in the flake if that differs.
    pub fn called(&self) -> String {
        let Self { host, configuration, .. } = self;
        if configuration.as_str() == host.as_str() { host.to_string() } else { format!("{host} ({configuration})") }
    }
}

pub fn list(session: &Session) -> Vec<Row> {
    let policy = &session.fleet.policy;
    let row = |(name, host): (&HostName, &Host)| Row {
        host: name.clone(),
        configuration: host.configuration.clone(),
        address: host.address.to_string(),
        tags: host.tags.iter().cloned().collect(),
        keys: host.keys.iter().map(|key| key.ssh_fingerprint().unwrap_or_else(|| key.canonical().to_owned())).collect(),
        secrets: policy.secrets.values().filter(|secret| secret.hosts.contains(name)).count(),
    };
    policy.hosts.iter().map(row).collect()
}
