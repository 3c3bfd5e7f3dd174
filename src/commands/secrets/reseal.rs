//! Decrypts files and re-encrypts them for the readers of the policy, and verifies that the values are the same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::adapters::age::identity::Identities;
use crate::adapters::fs::changes::Change;
use crate::adapters::process::parallel;
use crate::adapters::{age, signals};
use crate::commands::talk::Event;
use crate::commands::{Changes, Session};
use crate::domain::drift::rekey_plan::{Broken, RekeyPlan, Reseal};
use crate::domain::secret::inventory::{Found, Inventory};
use crate::domain::secret::seal::Seal;
use crate::error::{Error, Kind, Result};

/// Fails before anything is decrypted if one of the files is broken.
pub fn refuse_broken(plan: &RekeyPlan<'_>) -> Result<()> {
    let fault =
        |Broken { file, what, help }: &Broken| Error::integrity(format!("{}: {what}", file.path())).help(help.clone());
    let faults: Vec<Error> = plan.broken.iter().map(fault).collect();
    Error::unless_none(faults, |count| format!("{count} files cannot be opened; nothing was changed"))
}

/// Decrypts files and re-encrypts them for the readers of the policy, verifies each, and adds them to the changes.
pub fn reseal(session: &Session, work: &[Reseal<'_>], inventory: &Inventory, changes: &mut Changes) -> Result<()> {
    if work.is_empty() {
        return Ok(());
    }
    let policy = &session.fleet.policy;
    if policy.admins.is_empty() {
        return Err(Error::usage("the fleet has no admin: nobody could rekey again")
            .help("make one: `sealift identity new --admin NAME`"));
    }
    let identities = session.identities()?;
    let sealer =
        session.sealer(work.iter().flat_map(|reseal| policy.recipients_of(&reseal.wanted.hosts).into_values()))?;
    let done = AtomicUsize::new(0);
    let results = parallel::map(work, |reseal| {
        let result = signals::check().and_then(|()| one(session, reseal, inventory, &identities, &sealer));
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        session.talk.event(Event::Progress("re-encrypting", done, work.len()));
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
        Err(Error::batch(format!("{} files could not be re-encrypted; nothing was changed", failures.len()), failures))
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
    if Some(reseal.mac) != inventory.files.get(file).and_then(Found::mac) {
        return Err(Error::new(Kind::Bug, format!("{} is not the file that was planned for", file.path())));
    }
    let after = resealed(session, reseal, &before, identities, sealer)?;
    Ok(Change::write(file.path(), Some(&before), after))
}

/// Returns the same value, sealed to the readers of the policy.
pub fn resealed(
    session: &Session,
    reseal: &Reseal<'_>,
    before: &[u8],
    identities: &Identities,
    sealer: &age::Sealer,
) -> Result<Vec<u8>> {
    let file = &reseal.wanted.file;
    let opened = age::open(before, file, identities)?;
    // The decrypted file must be the one that was planned for.
    if opened.mac != reseal.mac {
        return Err(Error::failed(format!("{} was changed by someone else meanwhile", file.path())));
    }
    let current: BTreeSet<_> = session.fleet.policy.recipients_of(&reseal.wanted.hosts).into_keys().collect();
    let seal = match &opened.seal {
        Some(seal) => seal.same_value(current),
        None => Seal::adopted(file.clone(), session.today, current, &reseal.past),
    };
    let after = sealer.seal(&opened.value, &seal)?;
    let proof = age::open(&after, file, identities)?;
    if !proof.value.same_as(&opened.value) || proof.seal.as_ref() != Some(&seal) {
        return Err(Error::new(
            Kind::Bug,
            format!("{}: what was re-encrypted does not open to the same value", file.path()),
        ));
    }
    Ok(after)
}
