//! `rekey`: re-encrypts sealed files for the readers of the policy. Changes only files that differ, and either all or
//! none of them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::adapters::repository::Fleet;
use crate::commands::lacking::lacking;
use crate::commands::past::Past;
use crate::commands::secrets::agree::{Terms, agree};
use crate::commands::secrets::reseal::{refuse_broken, reseal};
use crate::commands::secrets::show::unknown;
use crate::commands::secrets::vouch::vouch;
use crate::commands::{Changes, Session};
use crate::domain::drift::access::{Access, Reader};
use crate::domain::drift::lacking::Lacking;
use crate::domain::drift::rekey_plan::{RekeyPlan, Reseal, Scope, Why};
use crate::domain::name::{FileName, nearest};
use crate::domain::policy::Policy;
use crate::error::{Error, Kind, Result};

/// What to re-encrypt.
#[derive(Debug, Default)]
pub struct Request {
    /// Only these secrets or files; empty for all.
    pub only: Vec<FileName>,
    /// Also files that are up to date.
    pub all: bool,
    /// Files without a seal that get one.
    pub adopt: Vec<FileName>,
    /// The readers whose access may be removed.
    pub remove: BTreeSet<String>,
    pub yes: bool,
    /// Only report what would be done.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub changed: Vec<Changed>,
    /// How many files were up to date and stay unchanged, byte for byte.
    pub unchanged: usize,
    /// Files that the policy asks for and that are not there.
    pub missing: Vec<FileName>,
    /// The same, with how to give them a value.
    #[serde(skip)]
    pub lacking: Vec<Lacking>,
    /// Files without a seal that were not selected for adoption, and what adopting them would do.
    pub unsealed: Vec<Changed>,
    pub dry_run: bool,
}

/// One file that was re-encrypted.
#[derive(Debug, Serialize)]
pub struct Changed {
    pub file: FileName,
    pub why: Why,
    /// Who gains and who loses access.
    #[serde(flatten)]
    pub access: Access,
    /// Whether the policy accepts the file without a seal.
    #[serde(skip)]
    pub accepted: bool,
}

/// Re-encrypts the files.
///
/// Fails without any change if one of them cannot be opened, or a reader who was not named would lose access.
pub fn run(session: &mut Session, request: &Request) -> Result<Report> {
    // A dry run takes no lock and finishes no interrupted change.
    let held = if request.dry_run { None } else { Some(session.lock()?) };
    let inventory = session.fleet.inventory()?;
    let adopt = chosen(session, &request.adopt)?.unwrap_or_default();
    let only = chosen(session, &request.only)?.map(|only| only.union(&adopt).cloned().collect());
    let scope = Scope { only, all: request.all, adopt };
    let past = Past::of(&session.fleet.git);
    let policy = &session.fleet.policy;
    let plan = RekeyPlan::rekey(policy, &past.keys(policy, inventory.envelopes()), &inventory, &scope);
    refuse_broken(&plan)?;
    vouch(session, &plan, &inventory)?;
    let by_name = |word: &String| policy.called(word).map_or_else(|| word.clone(), ToString::to_string);
    let remove: BTreeSet<String> = request.remove.iter().map(by_name).collect();
    refuse_idle(policy, &plan, &remove)?;
    let report = Report::of(&session.fleet, &plan, request.dry_run);
    let Some((git, journal)) = held.filter(|_| !plan.reseal.is_empty()) else { return Ok(report) };
    let adopting = request.adopt.iter().map(|file| format!(" --adopt {file}")).collect::<Vec<_>>().concat();
    let terms = Terms { remove, yes: request.yes, gains: true, of: None, adopting };
    agree(session, &past, &plan.accesses(), &terms)?;
    let mut changes = Changes::default();
    reseal(session, &plan.reseal, &inventory, &mut changes)?;
    session.commit(&git, &journal, &changes)?;
    Ok(report)
}

impl Report {
    /// Builds the report of a plan.
    pub fn of(fleet: &Fleet, plan: &RekeyPlan<'_>, dry_run: bool) -> Self {
        let changed = |reseal: &Reseal<'_>| Changed {
            file: reseal.wanted.file.clone(),
            why: reseal.why,
            access: reseal.access.clone(),
            accepted: reseal.wanted.secret.allow_unsealed,
        };
        Self {
            changed: plan.reseal.iter().map(changed).collect(),
            unchanged: plan.in_line,
            missing: plan.missing.iter().map(|wanted| wanted.file.clone()).collect(),
            lacking: lacking(fleet, &plan.missing),
            unsealed: plan.unsealed.iter().map(changed).collect(),
            dry_run,
        }
    }

    /// Returns the error kind for the exit code: files without a seal that were not adopted are not up to date.
    pub fn kind(&self) -> Option<Kind> {
        let left = !self.dry_run && self.unsealed.iter().any(|file| !file.accepted);
        left.then_some(if self.changed.is_empty() { Kind::Failed } else { Kind::Partial })
    }
}

/// Fails if a reader named in `--remove` loses no access: the user would believe that the reader is gone.
///
/// Fails with `Usage`, with what each reads and which names are possible.
fn refuse_idle(policy: &Policy, plan: &RekeyPlan<'_>, remove: &BTreeSet<String>) -> Result<()> {
    let losers = |plans: &[Reseal<'_>]| -> BTreeSet<String> {
        let both = plans.iter().flat_map(|reseal| reseal.access.loses.iter().chain(&reseal.access.unknown));
        both.map(Reader::word).collect()
    };
    let (lose, unsealed) = (losers(&plan.reseal), losers(&plan.unsealed));
    let holders = policy.holders();
    let known: BTreeSet<String> = holders.values().map(|holder| holder.name().to_owned()).collect();
    let idle = remove.difference(&lose).map(|name| {
        let reads = policy.wanted().into_iter().filter(|(_, wanted)| {
            policy.recipients_of(&wanted.hosts).keys().any(|key| Reader::of(key, &holders).word() == *name)
        });
        let reads: Vec<String> = reads.map(|(file, _)| file.to_string()).collect();
        let why = if !reads.is_empty() {
            format!("recipients.toml gives it {}", reads.join(", "))
        } else if unsealed.contains(name) {
            "what it can read has no seal, and stays as it is without `--adopt`".to_owned()
        } else if known.contains(name) {
            "no such file is sealed to it".to_owned()
        } else {
            let near = nearest(name, known.iter().chain(&lose).map(String::as_str));
            let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            format!("no reader of these files is called that{near}")
        };
        Error::usage(format!("{name} would lose no access: {why}"))
    });
    let idle: Vec<Error> = idle.collect();
    if idle.is_empty() {
        return Ok(());
    }
    let help = if lose.is_empty() {
        "`--remove` names who loses access by what recipients.toml says: change that first, or leave `--remove` out"
            .to_owned()
    } else {
        format!("those who would: {}", lose.into_iter().collect::<Vec<_>>().join(", "))
    };
    let message = format!("{} of --remove would lose no access; nothing was changed", idle.len());
    Err(Error::batch(message, idle).help(help))
}

/// Returns the files that names on the command line select. The name of a secret selects all its files.
fn chosen(session: &Session, names: &[FileName]) -> Result<Option<BTreeSet<FileName>>> {
    if names.is_empty() {
        return Ok(None);
    }
    let policy = &session.fleet.policy;
    let wanted = policy.wanted();
    let mut chosen = BTreeSet::new();
    for name in names {
        match policy.secrets.get_key_value(name.as_str()) {
            Some((secret, declared)) => {
                chosen.extend(Policy::wanted_of(secret, declared).into_iter().map(|wanted| wanted.file));
            }
            None if wanted.contains_key(name) => drop(chosen.insert(name.clone())),
            None => return Err(unknown(session, name)),
        }
    }
    Ok(Some(chosen))
}
