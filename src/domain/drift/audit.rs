//! The findings that `check` reports for a fleet, from public data alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::Serialize;

use crate::domain::counted::counted;
use crate::domain::drift::access::{Access, Reader, listed};
use crate::domain::drift::lacking::Lacking;
use crate::domain::drift::status::Standing;
use crate::domain::level::Level;
use crate::domain::name::{FileName, HostName, SecretName};
use crate::domain::policy::{HOST_KEYS, Holder, Keys, Policy, Wanted};
use crate::domain::scan::index_file;
use crate::domain::secret::inventory::{Found, Inventory};
use crate::domain::secret::recipient::{Fingerprint, KeyKind};
use crate::domain::secret::seal::Seal;

/// The kind of a finding. Its serialized form is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditRule {
    /// The file is damaged, or is not an age file.
    Damaged,
    /// The seal names another file: it was swapped, renamed or copied.
    WrongName,
    /// The stanzas do not match the seal: the file was changed without sealift.
    Contradiction,
    /// Someone can read the file but should not.
    ExtraReader,
    /// Someone should be able to read the file but cannot.
    MissingReader,
    /// The file has no seal.
    Unsealed,
    /// A file that the policy requires is missing.
    Missing,
    /// A change of several files was interrupted and is not finished yet.
    Unfinished,
    /// A file that belongs to no secret in the policy.
    Orphan,
    /// Something under `secrets/` that is not a sealed file.
    Stray,
    /// Git does not track the file, so Nix does not see it.
    Untracked,
    /// Git ignores the file.
    Ignored,
    /// The serial is below the one it is compared with: an older value was restored.
    SerialFell,
    /// A removed host still knows the value.
    KnownToRetired,
    /// A past reader, or a key that no longer has a holder, could read this value.
    KnownToFormer,
    /// The value is older than its rotation period, or has expired.
    Overdue,
    /// A value expires within a week.
    ExpiresSoon,
    /// No host receives it.
    NoReader,
    /// A weak type of key.
    WeakKey,
    /// There is no admin, or there is only one admin key in total.
    LastAdmin,
    /// Something in the git history that cannot be seen in the current files.
    History,
    /// One side of a merge gave somebody access that neither the policy nor the file gives any more.
    TakenByMerge,
    /// The index of values is incomplete, or can no longer be opened.
    IndexBehind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditFinding {
    pub level: Level,
    pub rule: AuditRule,
    /// The path or name it refers to.
    pub about: String,
    pub what: String,
    /// What to do about it.
    #[serde(rename = "mend")]
    pub help: String,
    /// Who gains and who loses access through that.
    #[serde(flatten)]
    pub access: Access,
    /// Past readers who know the value, as arguments for `rotate --exposed-to`.
    #[serde(skip)]
    pub gone: Vec<String>,
    /// The file without a value, if the finding is about one.
    #[serde(skip)]
    pub lacking: Option<Lacking>,
}

impl AuditFinding {
    pub fn error(rule: AuditRule, about: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        let (about, what, help) = (about.into(), what.into(), help.into());
        Self {
            level: Level::Error,
            rule,
            about,
            what,
            help,
            access: Access::default(),
            gone: Vec::new(),
            lacking: None,
        }
    }

    /// A finding that is an error only with `--strict`.
    pub fn warning(
        rule: AuditRule,
        about: impl Into<String>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warning, ..Self::error(rule, about, what, help) }
    }
}

/// Compares the content of `secrets/` with the policy.
pub fn audit(policy: &Policy, keys: &Keys<'_>, inventory: &Inventory, today: Date) -> Vec<AuditFinding> {
    let wanted = policy.wanted();
    let against = Against { policy, keys, present: policy.hosts.keys().collect(), today };
    let mut sets: BTreeMap<Vec<&str>, BTreeSet<Fingerprint>> = BTreeMap::new();
    let mut found = of_policy(policy);
    for (file, wanted) in &wanted {
        // Most secrets share their readers with others: each set is computed once.
        let hosts: Vec<&str> = wanted.hosts.iter().map(|host| host.as_str()).collect();
        let should = sets.entry(hosts).or_insert_with(|| policy.recipients_of(&wanted.hosts).into_keys().collect());
        against.file(wanted, inventory.files.get(file), should, &mut found);
    }
    for file in inventory.files.keys().filter(|file| !wanted.contains_key(*file)) {
        let help = match inventory.agenix.filter(|_| inventory.seal(file).is_none()) {
            Some(rules) => format!("if {rules} names it, `sealift import agenix` declares it"),
            None => format!("declare it in recipients.toml, or delete it: `sealift rm {file}`"),
        };
        found.push(AuditFinding::error(AuditRule::Orphan, file.path(), "no secret in the policy asks for it", help));
    }
    for path in &inventory.strays {
        let what = "it is not a sealed file, and everything under secrets/ goes into the repository";
        found.push(AuditFinding::warning(
            AuditRule::Stray,
            path.clone(),
            what,
            "move it elsewhere; if it is plaintext, treat it as leaked",
        ));
    }
    found.sort();
    found
}

/// What files are compared with.
struct Against<'a> {
    policy: &'a Policy,
    keys: &'a Keys<'a>,
    present: BTreeSet<&'a HostName>,
    today: Date,
}

impl Against<'_> {
    /// Checks one file against the readers it should have.
    fn file(
        &self,
        wanted: &Wanted<'_>,
        there: Option<&Found>,
        should: &BTreeSet<Fingerprint>,
        found: &mut Vec<AuditFinding>,
    ) {
        let path = wanted.file.path();
        let standing = Standing::of(&wanted.file, there, should, self.keys);
        let help = standing.advice(&wanted.file);
        match standing {
            Standing::Missing => found.push(missing(wanted)),
            Standing::Broken(fault) => {
                found.push(AuditFinding::error(AuditRule::Damaged, path, fault.to_string(), help));
            }
            Standing::Unsealed => found.push(self.unsealed(wanted, there)),
            Standing::WrongName(name) => {
                let what = format!("its seal says that it is {name}");
                found.push(AuditFinding::error(AuditRule::WrongName, path, what, help));
            }
            Standing::Contradiction(what) => {
                let what = format!("it was changed behind sealift's back: {what}");
                found.push(AuditFinding::error(AuditRule::Contradiction, path, what, help));
            }
            Standing::Drift(access) => {
                found.extend(drift(&wanted.file, access));
                self.value(wanted, there, found);
            }
            Standing::InLine => self.value(wanted, there, found),
        }
    }

    /// Checks the value of a file with a credible seal.
    fn value(&self, wanted: &Wanted<'_>, there: Option<&Found>, found: &mut Vec<AuditFinding>) {
        let Some(seal) = there.and_then(Found::seal) else { return };
        found.extend(still_known(wanted, seal, &self.keys.holders, &self.present));
        found.extend(overdue(wanted, seal, self.today));
    }

    /// The finding for a file without a seal, with the effect of adopting it.
    fn unsealed(&self, wanted: &Wanted<'_>, there: Option<&Found>) -> AuditFinding {
        let access = match there {
            Some(Found::Sealed(envelope)) => {
                Access::of_stanzas(envelope, &self.policy.recipients_of(&wanted.hosts), self.keys).0
            }
            Some(Found::Broken(_)) | None => Access::default(),
        };
        let what = format!(
            "it has no seal: another tool wrote it, or the seal was stripped; if it is adopted, {}",
            access.told()
        );
        let help =
            format!("find out where it comes from; if that is intended: `sealift rekey --adopt {}`", wanted.file);
        let level = if wanted.secret.allow_unsealed { AuditFinding::warning } else { AuditFinding::error };
        AuditFinding { access, ..level(AuditRule::Unsealed, wanted.file.path(), what, help) }
    }
}

pub(super) fn extra_reader(loses: &BTreeSet<Reader>) -> String {
    format!("can read it and should not: {}", listed(loses))
}

pub(super) fn missing_reader(gains: &BTreeSet<Reader>) -> String {
    format!("should read it and cannot: {}", listed(gains))
}

/// Findings for readers who should not have access, and for those who lack it.
fn drift(file: &FileName, access: Access) -> impl Iterator<Item = AuditFinding> {
    let Access { gains, loses, .. } = access;
    let remove: BTreeSet<String> = loses.iter().map(|reader| format!(" --remove {}", reader.word())).collect();
    let remove: String = remove.into_iter().collect();
    let extra = (!loses.is_empty()).then(|| AuditFinding {
        what: extra_reader(&loses),
        help: format!("if that is intended: `sealift rekey{remove}`; if not, say in recipients.toml that they read it"),
        access: Access { loses, ..Access::default() },
        ..AuditFinding::error(AuditRule::ExtraReader, file.path(), "", "")
    });
    let missing = (!gains.is_empty()).then(|| AuditFinding {
        what: missing_reader(&gains),
        help: "if that is intended: `sealift rekey`; if not, remove them from recipients.toml".to_owned(),
        access: Access { gains, ..Access::default() },
        ..AuditFinding::error(AuditRule::MissingReader, file.path(), "", "")
    });
    extra.into_iter().chain(missing)
}

fn missing(wanted: &Wanted<'_>) -> AuditFinding {
    let lacking = Lacking::of(wanted, false);
    let help = format!("give it a value: {}", lacking.help());
    let found =
        AuditFinding::error(AuditRule::Missing, wanted.file.path(), "the policy asks for it and it is not there", help);
    AuditFinding { lacking: Some(lacking), ..found }
}

fn of_policy(policy: &Policy) -> Vec<AuditFinding> {
    let mut found = Vec::new();
    match policy.admins.values().flatten().count() {
        0 => found.push(AuditFinding::error(
            AuditRule::LastAdmin,
            "recipients.toml",
            "there is no admin: nobody could rekey",
            "run `sealift identity new --admin NAME`",
        )),
        1 => found.push(AuditFinding::warning(
            AuditRule::LastAdmin,
            "recipients.toml",
            "one key alone opens everything: lose it, and all is lost",
            "add a second admin or an offline backup key: `sealift identity new --admin backup --file FILE`",
        )),
        _ => {}
    }
    let hosts = policy.hosts.iter().flat_map(|(name, host)| {
        let help = format!("`sealift host rekey {name} --ssh` takes the machine's ed25519 key");
        host.keys.iter().map(move |key| (format!("hosts.{name}"), key, help.clone()))
    });
    let admins = policy.admins.iter().flat_map(|(name, keys)| {
        let help = format!("make another: `sealift identity new --admin {name} --add`");
        keys.iter().map(move |key| (format!("admins.{name}"), key, help.clone()))
    });
    for (about, _, help) in hosts.chain(admins).filter(|(_, key, _)| key.kind() == KeyKind::SshRsa) {
        found.push(AuditFinding::warning(
            AuditRule::WeakKey,
            about,
            "an ssh-rsa key: slow to open, and age's RSA code is not constant-time (RUSTSEC-2023-0071)",
            help,
        ));
    }
    // A machine's own host key is only for the admins, who install it.
    let own_key = |name: &SecretName| name.as_str().strip_prefix(HOST_KEYS).is_some_and(|rest| rest.starts_with('/'));
    // So is the key of the index of values.
    let kept = |name: &SecretName| own_key(name) || name.as_str() == index_file::KEY;
    for (name, _) in policy.secrets.iter().filter(|(name, secret)| secret.hosts.is_empty() && !kept(name)) {
        found.push(AuditFinding::warning(
            AuditRule::NoReader,
            format!("secrets.{name}"),
            "no host receives it: only the admins keep it",
            format!("name its readers in recipients.toml, or remove it: `sealift rm {name}`"),
        ));
    }
    found
}

/// Past readers who still know the value.
fn still_known(
    wanted: &Wanted<'_>,
    seal: &Seal,
    holders: &BTreeMap<Fingerprint, Holder>,
    present: &BTreeSet<&HostName>,
) -> Option<AuditFinding> {
    let mut removed = BTreeSet::new();
    let mut others = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for key in &seal.former {
        match holders.get(key) {
            Some(Holder::Retired(name)) if !present.contains(name) => drop(removed.insert(name.to_string())),
            Some(Holder::Retired(name)) => drop(others.insert(format!("an old key of {name}"))),
            Some(holder) => {
                gone.extend(matches!(holder, Holder::Past(_)).then(|| holder.name().to_owned()));
                others.insert(holder.to_string());
            }
            None => drop(others.insert("a key that is no longer in the policy".to_owned())),
        }
    }
    let path = wanted.file.path();
    let rotate = format!("give it a new value: `sealift rotate {}`", wanted.file);
    let listed = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    if !removed.is_empty() {
        let what = format!("the removed host {} still knows this value", listed(&removed));
        let gone = removed.into_iter().collect();
        return Some(AuditFinding { gone, ..AuditFinding::error(AuditRule::KnownToRetired, path, what, rotate) });
    }
    // `rotate --exposed-to` cannot select the others, so it is not suggested.
    let gone = if gone.len() == others.len() { gone.into_iter().collect() } else { Vec::new() };
    let what = format!("no longer a reader, but knows this value: {}", listed(&others));
    (!others.is_empty())
        .then(|| AuditFinding { gone, ..AuditFinding::warning(AuditRule::KnownToFormer, path, what, rotate) })
}

/// How many days before its expiry a value is reported.
pub const WEEK: i32 = 7;

/// `1 day`, `2 days`.
pub fn days(number: i32) -> String {
    counted(usize::try_from(number).unwrap_or(0), "day")
}

fn overdue(wanted: &Wanted<'_>, seal: &Seal, today: Date) -> Option<AuditFinding> {
    let rotate = format!("`sealift rotate {}`", wanted.file);
    if let Some(end) = wanted.secret.expires {
        let left = (end - today).get_days();
        let help = format!("{rotate} asks for the next date, or takes it with `--expires DATE`");
        let found = |rule, what| Some(AuditFinding::warning(rule, wanted.file.path(), what, help.clone()));
        match left {
            ..=0 => return found(AuditRule::Overdue, format!("the value expired on {end}")),
            1..=WEEK => return found(AuditRule::ExpiresSoon, format!("the value expires on {end}, in {}", days(left))),
            _ => {}
        }
    }
    let every = wanted.secret.rotate_every?;
    let age = i64::from((today - seal.made).get_days());
    (age >= i64::from(every.get())).then(|| {
        AuditFinding::warning(
            AuditRule::Overdue,
            wanted.file.path(),
            format!("the value is {age} days old, and is to be rotated every {every} days"),
            rotate,
        )
    })
}
