//! Writes new values into a change of the fleet, for all verbs: sealed to the present readers, with the next serial,
//! and with the public half of a key pair beside them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::adapters::age;
use crate::commands::past::Past;
use crate::commands::{Changes, Session};
use crate::domain::drift::access::{Access, Reader, listed};
use crate::domain::drift::same::{grouped, names};
use crate::domain::name::FileName;
use crate::domain::policy::edit::public_path;
use crate::domain::policy::{FILE, Wanted};
use crate::domain::scan::index_file;
use crate::domain::secret::age_header::Fault;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::Fingerprint;
use crate::domain::secret::seal::{Envelope, Seal};
use crate::error::{Error, Result};

#[derive(Debug, Serialize)]
pub struct Sealed {
    pub file: FileName,
    /// The serial of the value.
    pub serial: u64,
    pub readers: Vec<String>,
    /// The public half of a generated key pair.
    pub public: Option<String>,
    /// Who gains and who loses access compared with the previous file.
    #[serde(flatten)]
    pub access: Access,
}

/// Warns if a new value has an expiry date in the past, which is left from its previous value.
pub fn warn_of_past_date(session: &Session, wanted: &[Wanted<'_>]) {
    let past = |wanted: &&Wanted<'_>| wanted.secret.expires.is_some_and(|end| end <= session.today);
    let names: BTreeSet<_> = wanted.iter().filter(past).map(|wanted| wanted.name).collect();
    for name in names {
        session.warn(format!("{name}: `expires` in {FILE} is past: set the date of the new value, or remove it"));
    }
}

/// Writes new values into a change of the fleet.
pub struct Writer<'a> {
    session: &'a Session,
    sealer: age::Sealer,
    past: Past,
    sealed: Vec<Sealed>,
}

impl<'a> Writer<'a> {
    /// Prepares the keys of the readers of these files.
    pub fn new(session: &'a Session, wanted: &[Wanted<'_>]) -> Result<Self> {
        let policy = &session.fleet.policy;
        if policy.admins.is_empty() {
            return Err(Error::usage("the fleet has no admin: nobody could rekey or edit what is sealed now")
                .help("make one: `sealift identity new --admin NAME`"));
        }
        let sealer =
            session.sealer(wanted.iter().flat_map(|wanted| policy.recipients_of(&wanted.hosts).into_values()))?;
        Ok(Self { session, sealer, past: Past::of(&session.fleet.git), sealed: Vec::new() })
    }

    /// Returns the seal with the highest usable serial for a file in git: from the last commit or, if that has none,
    /// from all earlier commits. None if git has no such seal.
    fn in_history(&self, file: &FileName) -> Option<Seal> {
        let git = self.session.fleet.git().ok()?;
        let path = git.relative(&self.session.fleet.root.join(file.path())).ok()?;
        let seals = |commits: &mut dyn Iterator<Item = &str>| {
            let contents = git.objects(&commits.map(|commit| format!("{commit}:{path}")).collect::<Vec<_>>()).ok()?;
            let seals = contents.into_iter().flatten().filter_map(|content| age::seal_of(&content));
            seals.filter(|seal| seal.name == *file && !seal.is_last()).max_by_key(|seal| seal.serial)
        };
        seals(&mut ["HEAD"].into_iter()).or_else(|| {
            let listed = git.unaltered().args(["--literal-pathspecs", "rev-list", "HEAD", "--", &path]).read().ok()?;
            seals(&mut String::from_utf8_lossy(&listed).lines())
        })
    }

    /// Seals the next value of a file.
    pub fn new_value(
        &mut self,
        wanted: &Wanted<'_>,
        value: &Plaintext,
        public: Option<String>,
        changes: &mut Changes,
    ) -> Result<()> {
        let recipients = self.session.fleet.policy.recipients_of(&wanted.hosts);
        let current: BTreeSet<_> = recipients.keys().copied().collect();
        let before = self.session.fleet.sealed(&wanted.file)?;
        let envelope = before.as_deref().and_then(age::envelope_of);
        let access = self.access(wanted, envelope.as_ref(), &current);
        let there = envelope.and_then(|envelope| envelope.seal).filter(|seal| seal.name == wanted.file);
        if there.as_ref().is_some_and(Seal::is_last) {
            self.session.warn(format!("{}: {}", wanted.file.path(), Fault::ForgedSerial));
        }
        // A missing, unreadable or forged file had a value too: the serial continues from the one in git.
        let next = |seal: Seal| seal.next_value(self.session.today, current.clone());
        let seal = there.and_then(next).or_else(|| self.in_history(&wanted.file).and_then(next));
        let seal = seal.unwrap_or_else(|| Seal::first(wanted.file.clone(), self.session.today, current.clone()));
        if self.sealed.is_empty() && self.session.fleet.root.join(index_file::FILE).exists() {
            self.session
                .note(format!("{} does not know the new value yet: `sealift scan --write-index`", index_file::FILE));
        }
        changes.write(wanted.file.path(), before.as_deref(), self.sealer.seal(value, &seal)?);
        if let Some(public) = &public {
            let path = public_path(&wanted.file);
            let before = self.session.fleet.public_half(&wanted.file)?;
            changes.write(path, before.as_deref(), format!("{public}\n").into_bytes());
        } else if let Some(stale) = self.session.fleet.public_half(&wanted.file)? {
            changes.remove(public_path(&wanted.file), &stale);
            self.session.warn(format!("{} belonged to the old value, and is removed", public_path(&wanted.file)));
        }
        let holders = self.session.fleet.policy.holders();
        let mut readers: Vec<_> =
            recipients.keys().filter_map(|key| holders.get(key)).map(ToString::to_string).collect();
        readers.sort();
        readers.dedup();
        self.sealed.push(Sealed { file: wanted.file.clone(), serial: seal.serial, readers, public, access });
        Ok(())
    }

    /// Returns who gains and who loses access compared with the existing file. Giving a new value to the readers of the
    /// policy needs no consent; changed readers are only reported.
    fn access(&self, wanted: &Wanted<'_>, there: Option<&Envelope>, current: &BTreeSet<Fingerprint>) -> Access {
        let Some(envelope) = there else { return Access::default() };
        let policy = &self.session.fleet.policy;
        let keys = self.past.keys(policy, [envelope]);
        match &envelope.seal {
            Some(seal) => Access::of_seal(seal, current, &keys),
            None => Access::of_stanzas(envelope, &policy.recipients_of(&wanted.hosts), &keys).0,
        }
    }

    /// Returns what was sealed. Warns about readers who gain or lose access with the new values, once for all files
    /// with the same readers.
    pub fn finish(self) -> Vec<Sealed> {
        let of = |part: &dyn Fn(&Access) -> BTreeSet<Reader>| {
            let files = self.sealed.iter().map(|sealed| (&sealed.file, part(&sealed.access)));
            grouped(files.filter(|(_, readers)| !readers.is_empty()))
        };
        let tell = |readers: &BTreeSet<Reader>, files: &[&FileName], one: &str, many: &str| {
            let readers = format!("{} {}", listed(readers), if readers.len() == 1 { one } else { many });
            self.session.warn(match files {
                [file] => format!("{file}: {readers}"),
                files => format!("{readers}: {}", names(files)),
            });
        };
        for (readers, files) in of(&|access| access.gains.clone()) {
            let what = "access that the value before did not give";
            tell(&readers, &files, &format!("gains {what}"), &format!("gain {what}"));
        }
        for (readers, files) in of(&|access| access.loses.union(&access.unknown).cloned().collect()) {
            let what = "could read the value before, and cannot read this one";
            tell(&readers, &files, what, what);
        }
        self.sealed
    }
}
