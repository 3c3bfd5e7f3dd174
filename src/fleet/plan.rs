//! The plan of a rekey: which files change, and for whom. Made by a pure function; `--dry-run` prints this very value,
//! and carrying it out leaves an empty plan.

use std::collections::BTreeSet;

use serde::Serialize;

use super::finding::Drift;
use super::inventory::Inventory;
use super::name::FileName;
use super::policy::{Policy, Wanted};
use super::standing::Standing;

/// What is to be done, and what cannot be.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// Files to seal anew, with the same value.
    pub reseal: Vec<Reseal<'a>>,
    /// Files that are to exist and do not.
    pub missing: Vec<Wanted<'a>>,
    /// Files that nothing can be done with until somebody looks.
    pub broken: Vec<(FileName, String)>,
    /// How many files are in line.
    pub in_line: usize,
}

/// One file that is sealed anew.
#[derive(Debug)]
pub struct Reseal<'a> {
    /// The file and its declared readers.
    pub wanted: Wanted<'a>,
    /// Why, and for whom.
    pub why: Why,
}

/// Why a file is sealed anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    /// Its readers are not those of the policy.
    Drift(Drift),
    /// It has no seal yet.
    Unsealed,
    /// Asked for, though it is in line.
    Asked,
}

impl<'a> Plan<'a> {
    /// What it takes to bring the files in line with the policy. `only` limits it to some; with `all`, files that are in
    /// line are sealed anew too.
    pub fn rekey(policy: &'a Policy, inventory: &Inventory, only: Option<&BTreeSet<FileName>>, all: bool) -> Self {
        let holders = policy.holders();
        let known = policy.known_keys();
        let mut plan = Self::default();
        for (file, wanted) in
            policy.wanted().into_iter().filter(|(file, _)| only.is_none_or(|only| only.contains(file)))
        {
            let should = policy.recipients_of(&wanted.hosts).into_keys().collect();
            let standing = Standing::of(&file, inventory.files.get(&file), &should, &known, &holders);
            let why = match standing {
                Standing::Missing => {
                    plan.missing.push(wanted);
                    continue;
                }
                Standing::Broken(_) | Standing::WrongName(_) | Standing::Contradiction(_) => {
                    plan.broken.push((file, standing.damage().unwrap_or_default()));
                    continue;
                }
                Standing::InLine if !all => {
                    plan.in_line += 1;
                    continue;
                }
                Standing::InLine => Why::Asked,
                Standing::Unsealed => Why::Unsealed,
                Standing::Drift(drift) => Why::Drift(drift),
            };
            plan.reseal.push(Reseal { wanted, why });
        }
        plan
    }
}
