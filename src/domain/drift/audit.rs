//! Findings: what `check` says of a fleet, from public data alone.

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

/// What kind of finding it is. The text form is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditRule {
    /// The file is damaged, or something else stands in its place.
    Damaged,
    /// The seal names another file: it was swapped, renamed or copied.
    WrongName,
    /// The stanzas do not fit the seal: the file was changed behind sealift's back.
    Contradiction,
    /// Someone can read the file who should not.
    ExtraReader,
    /// Someone cannot read the file who should.
    MissingReader,
    /// The file has no seal.
    Unsealed,
    /// The policy asks for a file that is not there.
    Missing,
    /// A change of several files was interrupted and is not completed yet.
    Unfinished,
    /// A file that no secret in the policy asks for.
    Orphan,
    /// Something under `secrets/` that is no sealed file.
    Stray,
    /// Nix does not see the file: git does not track it.
    Untracked,
    /// Git ignores the file.
    Ignored,
    /// The serial is below the one it is compared with: an older value came back.
    SerialFell,
    /// A removed host still knows the value.
    KnownToRetired,
    /// Somebody who is no longer a reader, or a key that has no holder any more, could read this value.
    KnownToFormer,
    /// The value is older than its rotation period, or has ended.
    Overdue,
    /// A value expires within a week.
    ExpiresSoon,
    /// No host receives it.
    NoReader,
    /// A weaker kind of key.
    WeakKey,
    /// No admin at all, or only one key in all.
    LastAdmin,
    /// The history holds this, and the present does not tell.
    History,
    /// One side of a merge gave somebody access, and neither the policy nor the file does any more.
    TakenByMerge,
    /// The index of values does not know all of them, or cannot be opened any more.
    IndexBehind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditFinding {
    pub level: Level,
    pub rule: AuditRule,
    /// The path or name it is about.
    pub about: String,
    pub what: String,
    /// What to do about it.
    #[serde(rename = "mend")]
    pub help: String,
    /// Who gains and who loses access by that.
    #[serde(flatten)]
    pub access: Access,
    /// Who is gone and knows the value, by the words that `rotate --exposed-to` takes.
    #[serde(skip)]
    pub gone: Vec<String>,
    /// What it is that has no value, where it is about that.
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

    /// A finding that counts with `--strict`.
    pub fn warning(
        rule: AuditRule,
        about: impl Into<String>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warning, ..Self::error(rule, about, what, help) }
    }
}

/// Holds what `secrets/` holds against the policy.
pub fn audit(policy: &Policy, keys: &Keys<'_>, inventory: &Inventory, today: Date) -> Vec<AuditFinding> {
    let wanted = policy.wanted();
    let against = Against { policy, keys, present: policy.hosts.keys().collect(), today };
    let mut sets: BTreeMap<Vec<&str>, BTreeSet<Fingerprint>> = BTreeMap::new();
    let mut found = of_policy(policy);
    for (file, wanted) in &wanted {
        // Most secrets have the readers of another: their set is made once.
        let hosts: Vec<&str> = wanted.hosts.iter().map(|host| host.as_str()).collect();
        let should = sets.entry(hosts).or_insert_with(|| policy.recipients_of(&wanted.hosts).into_keys().collect());
        against.file(wanted, inventory.files.get(file), should, &mut found);
    }
    for file in inventory.files.keys().filter(|file| !wanted.contains_key(*file)) {
        let help = format!("declare it in recipients.toml, or delete it: `sealift rm {file}`");
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

/// What files are held against.
struct Against<'a> {
    policy: &'a Policy,
    keys: &'a Keys<'a>,
    present: BTreeSet<&'a HostName>,
    today: Date,
}

impl Against<'_> {
    /// One file, whose readers should be these.
    fn file(
        &self,
        wanted: &Wanted<'_>,
        there: Option<&Found>,
        should: &BTreeSet<Fingerprint>,
        found: &mut Vec<AuditFinding>,
    ) {
        let path = wanted.file.path();
        match Standing::of(&wanted.file, there, should, self.keys) {
            Standing::Missing => found.push(missing(wanted)),
            Standing::Broken(fault) => {
                found.push(AuditFinding::error(AuditRule::Damaged, path, fault.to_string(), fault.advice()));
            }
            Standing::Unsealed => found.push(self.unsealed(wanted, there)),
            Standing::WrongName(name) => {
                let what = format!("its seal says that it is {name}");
                let help =
                    "it was swapped, copied or renamed outside sealift: restore it from git, or use `sealift mv`";
                found.push(AuditFinding::error(AuditRule::WrongName, path, what, help));
            }
            Standing::Contradiction(what) => {
                let what = format!("it was changed behind sealift's back: {what}");
                let help =
                    format!("restore it from git, or seal the value again: `sealift seal {} --replace`", wanted.file);
                found.push(AuditFinding::error(AuditRule::Contradiction, path, what, help));
            }
            Standing::Drift(access) => {
                found.extend(drift(&wanted.file, access));
                self.value(wanted, there, found);
            }
            Standing::InLine => self.value(wanted, there, found),
        }
    }

    /// The value of a file whose seal is to be believed.
    fn value(&self, wanted: &Wanted<'_>, there: Option<&Found>, found: &mut Vec<AuditFinding>) {
        let Some(seal) = there.and_then(Found::seal) else { return };
        found.extend(still_known(wanted, seal, &self.keys.holders, &self.present));
        found.extend(overdue(wanted, seal, self.today));
    }

    /// A file without a seal, and what it would be to adopt it.
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

/// Who can read a file and should not, and who should and cannot.
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
    let lacking = Lacking::of(wanted);
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
    let hosts =
        policy.hosts.iter().flat_map(|(name, host)| host.keys.iter().map(move |key| (format!("hosts.{name}"), key)));
    let admins =
        policy.admins.iter().flat_map(|(name, keys)| keys.iter().map(move |key| (format!("admins.{name}"), key)));
    for (about, _) in hosts.chain(admins).filter(|(_, key)| key.kind() == KeyKind::SshRsa) {
        found.push(AuditFinding::warning(
            AuditRule::WeakKey,
            about,
            "an ssh-rsa key: slow to open, and age's RSA code is not constant-time (RUSTSEC-2023-0071)",
            "use the machine's ed25519 key",
        ));
    }
    // A machine's own host key is for the admins, who put it in place.
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

/// Who cannot read a value any more, but knows it.
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
    // Of others than these it is no command that means them alone.
    let gone = if gone.len() == others.len() { gone.into_iter().collect() } else { Vec::new() };
    let what = format!("no longer a reader, but knows this value: {}", listed(&others));
    (!others.is_empty())
        .then(|| AuditFinding { gone, ..AuditFinding::warning(AuditRule::KnownToFormer, path, what, rotate) })
}

/// How many days ahead the end of a value is told.
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
