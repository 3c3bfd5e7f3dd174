//! `rekey`: brings sealed files in line with the policy. Touches only what drifted; all of it or nothing.

use std::collections::BTreeSet;

use serde::Serialize;

use super::show::unknown;
use super::{Changes, Event, Session};
use crate::adapters::identity::Identities;
use crate::adapters::journal::Change;
use crate::adapters::{age, parallel, signals};
use crate::error::{Error, Kind, Result};
use crate::fleet::inventory::Inventory;
use crate::fleet::name::FileName;
use crate::fleet::plan::{Plan, Reseal, Why};
use crate::fleet::seal::Seal;

/// What to bring in line.
#[derive(Debug, Default)]
pub struct Request {
    /// Only these secrets or files; empty: all.
    pub only: Vec<FileName>,
    /// Files that are in line too.
    pub all: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The files that changed.
    pub changed: Vec<Changed>,
    /// How many were in line and stayed as they are, byte for byte.
    pub unchanged: usize,
    /// Files that the policy asks for and that have no value yet.
    pub missing: Vec<FileName>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// One file that was sealed anew.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// Its name.
    pub file: FileName,
    /// Why.
    #[serde(flatten)]
    pub why: Why,
}

/// Brings the files in line.
///
/// # Errors
/// When one of them cannot be opened; nothing is changed then.
pub fn run(session: &mut Session, request: &Request) -> Result<Report> {
    // Who only looks takes nothing, and finishes nothing.
    let held = if request.dry_run { None } else { Some(session.lock()?) };
    let inventory = session.fleet.inventory()?;
    let only = chosen(session, &request.only)?;
    let plan = Plan::rekey(&session.fleet.policy, &inventory, only.as_ref(), request.all);
    let report = Report::of(&plan, request.dry_run);
    refuse_broken(&plan)?;
    let Some((git, journal)) = held.filter(|_| !plan.reseal.is_empty()) else { return Ok(report) };
    let mut changes = Changes::default();
    reseal(session, &plan.reseal, &inventory, &mut changes)?;
    session.commit(&git, &journal, &changes)?;
    Ok(report)
}

impl Report {
    /// What a plan comes to.
    pub fn of(plan: &Plan<'_>, dry_run: bool) -> Self {
        let changed =
            plan.reseal.iter().map(|reseal| Changed { file: reseal.wanted.file.clone(), why: reseal.why.clone() });
        let missing = plan.missing.iter().map(|wanted| wanted.file.clone());
        Self { changed: changed.collect(), unchanged: plan.in_line, missing: missing.collect(), dry_run }
    }
}

/// The files that names on the command line mean: a secret's name means all of its files.
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
                chosen.extend(policy.wanted_of(secret, declared).into_iter().map(|wanted| wanted.file));
            }
            None if wanted.contains_key(name) => drop(chosen.insert(name.clone())),
            None => return Err(unknown(session, name)),
        }
    }
    Ok(Some(chosen))
}

/// Stops before anything is opened when a file is not one that could be.
///
/// # Errors
/// `Integrity`, naming each.
pub fn refuse_broken(plan: &Plan<'_>) -> Result<()> {
    if plan.broken.is_empty() {
        return Ok(());
    }
    let faults = plan.broken.iter().map(|(file, what)| Error::integrity(format!("{}: {what}", file.path())));
    let all =
        Error::batch(format!("{} files cannot be opened; nothing was changed", plan.broken.len()), faults.collect());
    Err(all.hint("restore them from git, or seal their values anew: `sealift seal NAME`"))
}

/// Opens files and seals them anew for the policy's readers, each re-opened and compared, into a change of the fleet.
///
/// # Errors
/// Names every file that failed.
pub fn reseal(session: &Session, work: &[Reseal<'_>], inventory: &Inventory, changes: &mut Changes) -> Result<()> {
    if work.is_empty() {
        return Ok(());
    }
    let policy = &session.fleet.policy;
    if policy.admins.is_empty() {
        return Err(Error::usage("the fleet has no admin: nobody could rekey again")
            .hint("make one: `sealift identity new --admin NAME`"));
    }
    let identities = session.identities()?;
    let sealer =
        session.sealer(work.iter().flat_map(|reseal| policy.recipients_of(&reseal.wanted.hosts).into_values()))?;
    let done = std::sync::atomic::AtomicUsize::new(0);
    let results = parallel::map(work, |reseal| {
        let result = signals::check().and_then(|()| one(session, reseal, inventory, &identities, &sealer));
        let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        session.talk.event(Event::Progress(done, work.len()));
        result
    });
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(change) => changes.add(change),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::batch(format!("{} files could not be sealed anew; nothing was changed", failures.len()), failures))
    }
}

fn one(
    session: &Session,
    reseal: &Reseal<'_>,
    inventory: &Inventory,
    identities: &Identities,
    sealer: &age::Sealer,
) -> Result<Change> {
    let file = &reseal.wanted.file;
    let before = session.fleet.sealed(file)?.ok_or_else(|| Error::failed(format!("{} vanished", file.path())))?;
    let opened = age::open(&before, file, identities)?;
    let current: BTreeSet<_> = session.fleet.policy.recipients_of(&reseal.wanted.hosts).into_keys().collect();
    let seal = match &opened.seal {
        Some(seal) => seal.same_value(current),
        None => Seal::first(file.clone(), session.today, current),
    };
    if opened.seal.as_ref() != inventory.seal(file) {
        return Err(Error::failed(format!("{} was changed by someone else meanwhile", file.path())));
    }
    let after = sealer.seal(&opened.value, &seal)?;
    let proof = age::open(&after, file, identities)?;
    if !proof.value.same_as(&opened.value) || proof.seal.as_ref() != Some(&seal) {
        return Err(Error::new(
            Kind::Bug,
            format!("{}: what was sealed anew does not open to the same value", file.path()),
        ));
    }
    Ok(Change::write(file.path(), Some(&before), after))
}
