//! `import`: takes over an agenix repository. Its rules become declarations, and its files move to sealift's paths. No
//! ciphertext changes and no key is needed, unless the files also get seals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::adapters::age;
use crate::adapters::flake::configured;
use crate::adapters::fs::beneath::Beneath;
use crate::adapters::fs::files;
use crate::adapters::git::age_history::AgeHistory;
use crate::commands::past::Past;
use crate::commands::secrets::reseal::resealed;
use crate::commands::secrets::vouch::doubt;
use crate::commands::{Changes, Session, adopt_policy};
use crate::domain::counted::counted;
use crate::domain::drift::access::{Access, listed};
use crate::domain::drift::rekey_plan::{RekeyPlan, Scope, Why};
use crate::domain::migrate::agenix::{self, Entry, Key, RULES};
use crate::domain::name::{AdminName, Configuration, FileName, HostName, SecretName};
use crate::domain::policy::Holder;
use crate::domain::policy::edit::{Declaration, Edit};
use crate::domain::secret::age_header::{FILE_LIMIT, Fault, Mac};
use crate::domain::secret::inventory::{Found, Inventory};
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Kind, Result};

/// The size limit of a rules file, in bytes.
const LIMIT: u64 = 1 << 20;
/// The size limit of a file with a public key, in bytes.
const KEY_LIMIT: u16 = 16 << 10;

#[derive(Debug, Default)]
pub struct Request {
    /// The rules file. None: `secrets.nix` at the top, or in `secrets/`.
    pub rules: Option<PathBuf>,
    /// Names of keys that belong to admins.
    pub admins: Vec<String>,
    /// Names of keys that belong to hosts.
    pub hosts: Vec<String>,
    /// Add seals to the files, with an admin's key.
    pub adopt: bool,
    /// Only report what would be done.
    pub dry_run: bool,
    pub yes: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Admins added to the policy.
    pub admins: Vec<AdminName>,
    pub hosts: Vec<HostName>,
    /// The names of hosts in the flake, if they differ.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<HostName, Configuration>,
    /// The secrets, with the hosts that read them.
    pub secrets: Vec<(SecretName, Vec<HostName>)>,
    /// Moved files, with their old and new paths.
    pub moved: Vec<(String, String)>,
    /// Rules that were skipped, with the reason.
    pub left: Vec<(String, String)>,
    /// Secrets that some admins cannot open until the next rekey, with these admins.
    pub widened: Vec<(SecretName, Vec<String>)>,
    /// Who gains and who loses access when a file gets its seal, judged by the rules and the file itself.
    pub access: Vec<(SecretName, Access)>,
    /// Files that got a seal.
    pub adopted: Vec<SecretName>,
    /// Files that did not get a seal though it was requested, with the reason.
    pub not_adopted: Vec<(SecretName, String)>,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

impl Report {
    /// Describes each declaration and move in a line.
    pub fn lines(&self) -> Vec<String> {
        let admins = self.admins.iter().map(|name| format!("admin {name}"));
        let hosts = self.hosts.iter().map(|name| match self.configurations.get(name) {
            Some(configuration) => format!("host {name}, which is {configuration} in the flake"),
            None => format!("host {name}"),
        });
        let secrets = self.secrets.iter().map(|(secret, hosts)| {
            let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
            format!("secret {secret} for {}", if hosts.is_empty() { "no host".to_owned() } else { hosts.join(", ") })
        });
        let moved = self.moved.iter().map(|(from, to)| format!("{from} becomes {to}"));
        let readers = self.access.iter().filter(|(_, access)| !access.is_none());
        let readers = readers.map(|(secret, access)| format!("with its seal, {secret}: {}", access.told()));
        admins.chain(hosts).chain(secrets).chain(moved).chain(readers).collect()
    }

    /// Returns the error kind for the exit code.
    pub fn kind(&self) -> Option<Kind> {
        (!self.not_adopted.is_empty()).then_some(Kind::Partial)
    }
}

pub fn agenix(session: &mut Session, request: &Request) -> Result<Report> {
    let (git, journal) = session.lock()?;
    let (folder, shown) = rules(&session.fleet.root, request)?;
    let bytes = files::read(&session.fleet.root.join(&shown), LIMIT)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::usage(format!("{shown} is not UTF-8 text")))?;
    let key = |named: &str| key_file(&session.fleet.root, &folder, named);
    let entries = agenix::read(text, &key).map_err(|error| error.about(&shown))?;
    let mut report = Report { dry_run: request.dry_run, ..Report::default() };
    let mut edit = Edit::new(&session.fleet.text)?;
    let holders =
        people_and_machines(session, request, &entries, &mut edit, &mut report).map_err(|error| error.about(&shown))?;
    let mut changes = Changes::default();
    let mut names = BTreeMap::new();
    let mut taken = Vec::new();
    for entry in &entries {
        taken.extend(declare(session, entry, &folder, &holders, &mut edit, &mut names, &mut report)?);
    }
    if report.secrets.is_empty() && report.admins.is_empty() && report.hosts.is_empty() {
        return Ok(report);
    }
    adopt_policy(session, edit.text(), &mut changes)?;
    for (secret, _) in &report.secrets {
        let told: BTreeSet<String> = entries
            .iter()
            .filter(|entry| names.get(secret.as_str()) == Some(&entry.file))
            .flat_map(|entry| &entry.keys)
            .filter_map(|key| match holders.get(&canonical(key)?)? {
                Holder::Admin(name) => Some(name.to_string()),
                Holder::Host(_) | Holder::Retired(_) | Holder::Past(_) => None,
            })
            .collect();
        let more = session.fleet.policy.admins.keys().map(ToString::to_string).filter(|name| !told.contains(name));
        let more: Vec<String> = more.collect();
        if !more.is_empty() {
            report.widened.push((secret.clone(), more));
        }
    }
    let found = taken.iter().map(|taken| {
        let envelope = age::envelope_of(&taken.bytes).map_or(Found::Broken(Fault::NotAge), Found::Sealed);
        (taken.name.file(), envelope)
    });
    let inventory = Inventory { files: found.collect(), ..Inventory::default() };
    let past = Past::of(&session.fleet.git);
    let policy = &session.fleet.policy;
    let files: BTreeSet<FileName> = inventory.files.keys().cloned().collect();
    let scope = Scope { only: Some(files.clone()), all: false, adopt: files };
    let mut plan = RekeyPlan::rekey(policy, &past.keys(policy, inventory.envelopes()), &inventory, &scope);
    plan.reseal.retain(|reseal| reseal.why == Why::Unsealed);
    report.access = plan.reseal.iter().map(|reseal| (reseal.wanted.name.clone(), reseal.access.clone())).collect();
    if request.adopt {
        sift(session, &mut plan, &mut report)?;
    } else {
        plan.reseal.clear();
    }
    if request.dry_run {
        return Ok(report);
    }
    report.lines().iter().for_each(|line| session.note(line.as_str()));
    let question = format!(
        "Declare {}, {} and {}, move {} and seal {}?",
        counted(report.secrets.len(), "secret"),
        counted(report.hosts.len(), "host"),
        counted(report.admins.len(), "admin"),
        counted(report.moved.len(), "file"),
        plan.reseal.len()
    );
    if !request.yes && !session.talk.confirm(&question)? {
        return Err(
            Error::failed("nothing was taken over").help("`--dry-run` shows it, `--yes` does it without asking")
        );
    }
    seal(session, &plan, taken, &mut changes)?;
    report.adopted = plan.reseal.iter().map(|reseal| reseal.wanted.name.clone()).collect();
    session.commit(&git, &journal, &changes)?;
    Ok(report)
}

/// Removes from a plan the files that are not adopted: there is evidence that a file is not the secret of its rule, or
/// it has a reader that its rule does not name.
fn sift(session: &Session, plan: &mut RekeyPlan<'_>, report: &mut Report) -> Result<()> {
    let git = session.fleet.git()?;
    let history = AgeHistory::of(&git)?;
    let top = git.relative(&session.fleet.root)?;
    let macs: Vec<Mac> = plan.reseal.iter().map(|reseal| reseal.mac).collect();
    plan.reseal.retain(|reseal| {
        let twice = macs.iter().filter(|mac| **mac == reseal.mac).count() > 1;
        let why = if twice {
            Some("another rule has this very file".to_owned())
        } else if reseal.access.loses.is_empty() {
            doubt(&reseal.wanted.file, reseal.mac, &top, &history).map(|error| error.message().to_owned())
        } else {
            Some(format!("its rule does not name {}, who can read it", listed(&reseal.access.loses)))
        };
        report.not_adopted.extend(why.clone().map(|why| (reseal.wanted.name.clone(), why)));
        why.is_none()
    });
    Ok(())
}

/// Puts every file at its new path, with a seal if it is adopted.
fn seal(session: &Session, plan: &RekeyPlan<'_>, taken: Vec<Taken>, changes: &mut Changes) -> Result<()> {
    let policy = &session.fleet.policy;
    let recipients = plan.reseal.iter().flat_map(|reseal| policy.recipients_of(&reseal.wanted.hosts).into_values());
    let keys = if plan.reseal.is_empty() { None } else { Some((session.identities()?, session.sealer(recipients)?)) };
    for Taken { name, from, bytes } in taken {
        let to = name.file().path();
        let adopted = plan.reseal.iter().find(|reseal| *reseal.wanted.name == name);
        let sealed = match (adopted, &keys) {
            (Some(reseal), Some((identities, sealer))) => Some(resealed(session, reseal, &bytes, identities, sealer)?),
            _ => None,
        };
        if from != to {
            changes.write(to, None, sealed.unwrap_or_else(|| bytes.clone()));
            changes.remove(from, &bytes);
        } else if let Some(sealed) = sealed {
            changes.write(to, Some(&bytes), sealed);
        }
    }
    Ok(())
}

/// Returns the folder of the rules file, with a trailing slash, and the file's path, both relative to the fleet's root.
fn rules(root: &Path, request: &Request) -> Result<(String, String)> {
    let path = match &request.rules {
        Some(path) => path.clone(),
        None => RULES.into_iter().map(|name| root.join(name)).find(|path| path.symlink_metadata().is_ok()).ok_or_else(
            || {
                Error::usage("there is no secrets.nix at the top of the fleet, nor in secrets/")
                    .help("name the rules file of agenix: `--rules FILE`")
            },
        )?,
    };
    let place = path.parent().map(std::fs::canonicalize);
    let (Some(Ok(place)), Some(name)) = (place, path.file_name().and_then(|name| name.to_str())) else {
        return Err(Error::usage(format!("there is no file {}", path.display())));
    };
    let folder = place.strip_prefix(root).ok().and_then(Path::to_str).ok_or_else(|| {
        Error::usage(format!("{} is not in the fleet {}", path.display(), root.display()))
            .help("its files are to be secrets of this fleet: copy them in first")
    })?;
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    Ok((folder.clone(), format!("{folder}{name}")))
}

/// Reads a file that the rules name as that of a key. They may be anybody's: no link is followed, and nothing outside
/// the fleet is read.
fn key_file(root: &Path, folder: &str, named: &str) -> Result<Vec<u8>> {
    let path = agenix::path_of(folder, named).ok_or_else(|| {
        Error::usage(format!("{named} is not in the fleet"))
            .help("write the key into the rules, between quotes, or put its file into the fleet")
    })?;
    let top = Beneath::open(root)?.ok_or_else(|| Error::usage(format!("there is no {}", root.display())))?;
    let (bytes, _) = top.read(&path, KEY_LIMIT.into(), KEY_LIMIT.into()).map_err(|error| error.of_kind(Kind::Usage))?;
    Ok(bytes)
}

fn canonical(key: &Key) -> Option<String> {
    Recipient::parse(&key.text).ok().map(|key| key.canonical().to_owned())
}

/// Finds the holder of every key: from the policy, else from the request, else from its name, group or comment. Adds
/// new ones to the policy.
fn people_and_machines(
    session: &Session,
    request: &Request,
    entries: &[Entry],
    edit: &mut Edit,
    report: &mut Report,
) -> Result<BTreeMap<String, Holder>> {
    let policy = &session.fleet.policy;
    let known = policy.holders();
    let mut keys: BTreeMap<String, (Recipient, Option<String>, BTreeSet<String>)> = BTreeMap::new();
    for (entry, key) in entries.iter().flat_map(|entry| entry.keys.iter().map(move |key| (entry, key))) {
        let recipient = Recipient::parse(&key.text)
            .map_err(|error| error.about(format!("line {}, a key of {}", entry.line, entry.file)))?;
        let place = keys.entry(recipient.canonical().to_owned()).or_insert((recipient, None, BTreeSet::new()));
        place.1 = place.1.take().or_else(|| key.name.clone());
        place.2.extend(key.groups.iter().cloned());
    }
    let root = &session.fleet.root;
    let flake: BTreeSet<Configuration> = configured(root, &session.fleet.git()?.top).hosts.into_iter().collect();
    let is_there = |name: &Configuration| flake.contains(name) || root.join("hosts").join(name.as_str()).is_dir();
    let mut holders = BTreeMap::new();
    let mut unknown = Vec::new();
    for (text, (recipient, name, groups)) in keys {
        if let Some(holder) = known.get(&recipient.fingerprint()) {
            if let Holder::Retired(host) = holder {
                return Err(Error::usage(format!("a key of {host}, which was removed, is in the rules"))
                    .help("remove it from the rules file first"));
            }
            holders.insert(text, holder.clone());
            continue;
        }
        let called = name.clone().unwrap_or_default().to_ascii_lowercase().replace('_', "-");
        let comment = recipient.comment().to_owned();
        let of = |words: &[&str]| groups.iter().any(|group| words.contains(&group.to_ascii_lowercase().as_str()));
        let named = |names: &[String]| name.as_ref().is_some_and(|name| names.contains(name));
        // The name as written, or as the label derived from it.
        let written: Option<Configuration> = name.as_ref().and_then(|name| name.parse().ok());
        let label = written.as_ref().and_then(Configuration::label).map(|label| Configuration::from(&label));
        let by_name = written.clone().into_iter().chain(label).find(is_there);
        let host = named(&request.hosts)
            || by_name.is_some()
            || of(&["systems", "hosts", "machines", "servers"])
            || comment.starts_with("root@");
        let admin = named(&request.admins) || of(&["users", "admins", "people", "user"]);
        let by_comment = comment.strip_prefix("root@").and_then(|host| host.parse::<Configuration>().ok());
        let label_of = |name: &Option<Configuration>| name.as_ref().and_then(Configuration::label);
        // The machine's own name shows the spelling of its name in the flake.
        let same = by_comment.clone().filter(|_| label_of(&by_comment) == label_of(&written));
        let configuration = by_comment.clone().filter(is_there).or(by_name).or(same).or(written).or(by_comment);
        let host_name = configuration.and_then(|configuration| Some((configuration.label()?, configuration)));
        match (admin, host, host_name, called.parse::<AdminName>()) {
            (true, false, _, Ok(admin)) => {
                edit.add_admin(&admin, &recipient)?;
                if !report.admins.contains(&admin) {
                    report.admins.push(admin.clone());
                }
                holders.insert(text, Holder::Admin(admin));
            }
            (false, true, Some((host, configuration)), _) => {
                if policy.hosts.contains_key(host.as_str()) || report.hosts.contains(&host) {
                    return Err(Error::usage(format!("the rules have another key for the host {host}"))
                        .help(format!(
                            "leave the one that is right in the rules; `sealift host rekey {host} --key-file FILE` changes it in recipients.toml"
                        )));
                }
                edit.add_host(&host, &configuration, std::slice::from_ref(&recipient), None, &[])?;
                report.hosts.push(host.clone());
                if configuration.as_str() != host.as_str() {
                    report.configurations.insert(host.clone(), configuration);
                }
                holders.insert(text, Holder::Host(host));
            }
            _ => unknown.push(match (name, comment.as_str()) {
                (Some(name), _) => name,
                (None, "") => format!("a key without a name, of {}", entries_of(entries, &text)),
                (None, comment) => format!("a key without a name ({comment})"),
            }),
        }
    }
    if unknown.is_empty() {
        return Ok(holders);
    }
    unknown.sort();
    Err(Error::usage(format!("the owner of these keys is unknown: {}", unknown.join(", ")))
        .help("say it by their names in the rules: `--host NAME` for a machine, `--admin NAME` for a person; keys without a name get one by `let`"))
}

fn entries_of(entries: &[Entry], text: &str) -> String {
    let with = entries.iter().filter(|entry| entry.keys.iter().any(|key| canonical(key).as_deref() == Some(text)));
    with.map(|entry| entry.file.as_str()).take(3).collect::<Vec<_>>().join(", ")
}

/// The file of a rule.
struct Taken {
    name: SecretName,
    from: String,
    bytes: Vec<u8>,
}

/// Declares the secret of a rule. Returns its file, if it can be read.
fn declare(
    session: &Session,
    entry: &Entry,
    folder: &str,
    holders: &BTreeMap<String, Holder>,
    edit: &mut Edit,
    names: &mut BTreeMap<String, String>,
    report: &mut Report,
) -> Result<Option<Taken>> {
    let leave = |report: &mut Report, why: &str| {
        report.left.push((entry.file.clone(), why.to_owned()));
        Ok(None)
    };
    let from = format!("{folder}{}", entry.file);
    if entry.file.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return leave(report, "its path leads out of the folder of the rules");
    }
    let path = session.fleet.root.join(&from);
    if path.symlink_metadata().is_err() {
        return leave(report, "there is no such file");
    }
    let Some(name) = agenix::name_of(&from) else {
        return leave(report, "no secret name can be derived from its path");
    };
    let policy = &session.fleet.policy;
    if policy.secrets.contains_key(name.as_str()) {
        return leave(report, "a secret of this name is declared already");
    }
    if let Some(other) = names.insert(name.as_str().to_owned(), entry.file.clone()) {
        return Err(Error::usage(format!("{other} and {} would both be the secret {name}", entry.file))
            .help("rename one of the two files, and its rule"));
    }
    let mut hosts: Vec<HostName> = entry
        .keys
        .iter()
        .filter_map(|key| match holders.get(&canonical(key)?)? {
            Holder::Host(host) => Some(host.clone()),
            Holder::Admin(_) | Holder::Retired(_) | Holder::Past(_) => None,
        })
        .collect();
    hosts.sort();
    hosts.dedup();
    let declaration = Declaration { hosts: hosts.iter().map(ToString::to_string).collect(), ..Declaration::default() };
    edit.declare(&name, &declaration)?;
    let to = name.file().path();
    let bytes = files::read(&path, FILE_LIMIT);
    let taken = if from == to {
        // `check` reports what is wrong with a file that does not move.
        bytes.ok().map(|bytes| Taken { name: name.clone(), from, bytes })
    } else {
        let bytes = bytes?;
        if session.fleet.root.join(&to).symlink_metadata().is_ok() {
            return Err(
                Error::failed(format!("{to} is there already, where {from} would go")).help("move one of the two away")
            );
        }
        report.moved.push((from.clone(), to));
        Some(Taken { name: name.clone(), from, bytes })
    };
    report.secrets.push((name, hosts));
    Ok(taken)
}
