//! The common part of removing a host or an admin: re-encrypts what they could read for the others. Shows the change
//! and asks before anything is changed.

use std::collections::BTreeSet;

use crate::commands::past::Past;
use crate::commands::secrets::agree::{Of, Terms, agree, tell};
use crate::commands::secrets::rekey::Report as Rekeyed;
use crate::commands::secrets::reseal::{refuse_broken, reseal};
use crate::commands::{Changes, Session};
use crate::domain::counted::counted;
use crate::domain::drift::rekey_plan::{RekeyPlan, Scope};
use crate::domain::name::FileName;
use crate::domain::policy::Holder;
use crate::domain::secret::inventory::{Found, Inventory};
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::error::{Error, Result};

pub struct Removal<'a> {
    /// The removed keys.
    pub keys: &'a [Recipient],
    pub of: Of<'a>,
    pub yes: bool,
}

impl Removal<'_> {
    /// Re-encrypts what these keys could read for the readers of the session's policy, which no longer has the keys.
    pub fn carry_out(&self, session: &Session, inventory: &Inventory, changes: &mut Changes) -> Result<Rekeyed> {
        let only: BTreeSet<FileName> = inventory
            .files
            .iter()
            .filter(|(_, found)| may_read(found, self.keys))
            .map(|(file, _)| file.clone())
            .collect();
        let past = Past::of(&session.fleet.git);
        let policy = &session.fleet.policy;
        let mut keys = past.keys(policy, inventory.envelopes());
        // The policy no longer says whose keys these were: it remembers removed hosts, but not admins.
        if let Of::Admin(name) = self.of {
            for key in self.keys {
                keys.known.insert(key.fingerprint(), key);
                keys.holders.insert(key.fingerprint(), Holder::Admin(name.clone()));
            }
        }
        let scope = Scope { only: Some(only), ..Scope::default() };
        let plan = RekeyPlan::rekey(policy, &keys, inventory, &scope);
        refuse_broken(&plan)?;
        agree(session, &past, &plan.accesses(), &Terms { of: Some(self.of), ..Terms::default() })?;
        self.ask(session, &plan)?;
        reseal(session, &plan.reseal, inventory, changes)?;
        Ok(Rekeyed::of(&session.fleet, &plan, false))
    }

    fn ask(&self, session: &Session, plan: &RekeyPlan<'_>) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        let (what, name) = match self.of {
            Of::Host(name) => ("host", name.as_str()),
            Of::Admin(name) => ("admin", name.as_str()),
        };
        if session.talk.is_there() {
            tell(session, &plan.accesses());
        }
        let files = counted(plan.reseal.len(), "file");
        if session.talk.confirm(&format!("Remove the {what} {name}, and re-encrypt {files}?"))? {
            return Ok(());
        }
        Err(Error::failed(format!("{name} was not removed; nothing was changed"))
            .help("`--yes` removes without asking"))
    }
}

/// Returns the files whose value these keys could ever read, as far as is known.
pub fn known_to(inventory: &Inventory, keys: &[Recipient]) -> BTreeSet<FileName> {
    let fingerprints: BTreeSet<Fingerprint> = keys.iter().map(Recipient::fingerprint).collect();
    let knows = |found: &Found| match found.seal() {
        Some(seal) => seal.ever().any(|key| fingerprints.contains(key)),
        None => may_read(found, keys),
    };
    inventory.files.iter().filter(|(_, found)| knows(found)).map(|(file, _)| file.clone()).collect()
}

/// Whether one of these keys may open a file. A file without a seal is judged by the tags of its SSH stanzas; its other
/// stanzas are anonymous, and could belong to any key.
fn may_read(found: &Found, keys: &[Recipient]) -> bool {
    let Found::Sealed(envelope) = found else { return false };
    match &envelope.seal {
        Some(seal) => keys.iter().any(|key| seal.current.contains(&key.fingerprint())),
        None => envelope
            .stanzas
            .iter()
            .any(|slot| keys.iter().any(|key| key.ssh_tag() == slot.tag && key.kind().stanza() == slot.kind)),
    }
}
