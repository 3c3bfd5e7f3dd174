//! The plan of a rekey: which files change, and for which readers. Computed by a pure function. `--dry-run` prints the
//! same plan, and after it is carried out, the next plan is empty.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::domain::drift::access::{Access, Reader};
use crate::domain::drift::status::Standing;
use crate::domain::name::FileName;
use crate::domain::policy::{Keys, Policy, Wanted};
use crate::domain::secret::age_header::Mac;
use crate::domain::secret::inventory::{Found, Inventory};
use crate::domain::secret::recipient::Fingerprint;

/// Which files a plan is for.
#[derive(Debug, Default)]
pub struct Scope {
    /// Only these; `None`: all.
    pub only: Option<BTreeSet<FileName>>,
    /// Include files that are up to date.
    pub all: bool,
    /// Files without a seal that should get one.
    pub adopt: BTreeSet<FileName>,
}

/// What to do, and what cannot be done.
#[derive(Debug, Default)]
pub struct RekeyPlan<'a> {
    /// Files to re-encrypt with the same value.
    pub reseal: Vec<Reseal<'a>>,
    /// Files without a seal that were not selected for adoption, and what adopting them would change.
    pub unsealed: Vec<Reseal<'a>>,
    /// Files that are required but missing.
    pub missing: Vec<Wanted<'a>>,
    /// Files that cannot be handled until a person has looked at them.
    pub broken: Vec<Broken>,
    /// How many files are up to date.
    pub in_line: usize,
}

/// A file that nothing can be done with: why, and what a person can do about it.
#[derive(Debug)]
pub struct Broken {
    pub file: FileName,
    pub what: String,
    pub help: String,
}

/// A file to re-encrypt.
#[derive(Debug)]
pub struct Reseal<'a> {
    /// The file and its declared readers.
    pub wanted: Wanted<'a>,
    pub why: Why,
    /// Who gains and who loses access.
    pub access: Access,
    /// The keys that its new seal lists as past readers, if the file had no seal.
    pub past: BTreeSet<Fingerprint>,
    pub mac: Mac,
}

/// Why a file is re-encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Its readers differ from those of the policy.
    Drift,
    /// It has no seal yet.
    Unsealed,
    /// Requested, although it is up to date.
    Asked,
}

impl<'a> RekeyPlan<'a> {
    /// The changes that bring the files up to date with the policy.
    pub fn rekey(policy: &'a Policy, keys: &Keys<'_>, inventory: &Inventory, scope: &Scope) -> Self {
        let mut plan = Self::default();
        let chosen = |file: &FileName| scope.only.as_ref().is_none_or(|only| only.contains(file));
        for (file, wanted) in policy.wanted().into_iter().filter(|(file, _)| chosen(file)) {
            let recipients = policy.recipients_of(&wanted.hosts);
            let should = recipients.keys().copied().collect();
            let found = inventory.files.get(&file);
            let standing = Standing::of(&file, found, &should, keys);
            let damage = standing.damage().unwrap_or_default();
            let help = standing.advice(&file);
            let (why, access, past) = match (standing, found) {
                (Standing::Missing, _) => {
                    plan.missing.push(wanted);
                    continue;
                }
                (Standing::InLine, _) if !scope.all => {
                    plan.in_line += 1;
                    continue;
                }
                (Standing::InLine, _) => (Why::Asked, Access::default(), BTreeSet::new()),
                (Standing::Drift(access), _) => (Why::Drift, access, BTreeSet::new()),
                (Standing::Unsealed, Some(Found::Sealed(envelope))) => {
                    let (access, past) = Access::of_stanzas(envelope, &recipients, keys);
                    (Why::Unsealed, access, past)
                }
                _ => {
                    plan.broken.push(Broken { file, what: damage, help });
                    continue;
                }
            };
            let mac = found.and_then(Found::mac).unwrap_or_default();
            let left = why == Why::Unsealed && !scope.adopt.contains(&file);
            let reseal = Reseal { wanted, why, access, past, mac };
            if left { plan.unsealed.push(reseal) } else { plan.reseal.push(reseal) }
        }
        plan
    }

    /// The change of readers for each file.
    pub fn accesses(&self) -> Vec<(FileName, Access)> {
        self.reseal.iter().map(|reseal| (reseal.wanted.file.clone(), reseal.access.clone())).collect()
    }
}

/// The files of each reader.
pub fn by_reader<'a>(
    accesses: &'a [(FileName, Access)],
    side: impl Fn(&'a Access) -> &'a BTreeSet<Reader>,
) -> BTreeMap<&'a Reader, Vec<&'a FileName>> {
    let mut all: BTreeMap<&Reader, Vec<&FileName>> = BTreeMap::new();
    for (file, access) in accesses {
        side(access).iter().for_each(|reader| all.entry(reader).or_default().push(file));
    }
    all
}
