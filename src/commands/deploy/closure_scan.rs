//! Searches the paths about to be copied for the fleet's own values: anyone who can log in on a host can read its
//! store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::fs::root::Root;
use crate::adapters::nix::store;
use crate::adapters::prompt::Ask;
use crate::commands::scan::index::{KeyAt, known_by_index};
use crate::commands::talk::Event;
use crate::commands::{Session, scan};
use crate::domain::counted::counted;
use crate::domain::deploy::plan::Campaign;
use crate::error::{Error, Kind, Result};

#[derive(Clone, Debug)]
pub enum Inspect {
    /// Decrypt the values with the identity of this run.
    Values,
    /// Without an identity: use the index of values, if it exists and its key is available. Otherwise say that nothing
    /// is searched.
    Index(KeyAt),
    /// The user asked to skip the search.
    Skip,
}

/// Searches the store paths that were built here and are new to their hosts.
///
/// Fails with `Plaintext` if one of them contains a value. Also fails if no value could be decrypted.
pub fn look(session: &Session, how: &Inspect, campaign: &Campaign) -> Result<()> {
    let by_index = match how {
        Inspect::Skip => return Ok(()),
        Inspect::Values => None,
        Inspect::Index(key) => {
            let ask: Arc<dyn Ask> = session.talk.clone();
            let known = known_by_index(&session.fleet, key, &session.plugins, &ask)?;
            if known.is_none() {
                say_once(session);
                return Ok(());
            }
            known
        }
    };
    // Removes the marker, so that a later deploy that cannot search says so again.
    if let Some(said) = said(session) {
        let _not_there = files::remove(&said);
    }
    let new = new_paths(campaign)?;
    if new.is_empty() {
        return Ok(());
    }
    session.talk.event(Event::Step(format!("looking for values in {}", counted(new.len(), "new store path"))));
    let known = match by_index {
        Some(known) => known,
        None => scan::known(&session.fleet, session.identities()?.as_ref())?,
    };
    let report = scan::of_store_paths(&session.fleet.policy, known, &new, session.talk.as_ref())?;
    for blind in &report.not_looked_at {
        session.warn(format!("not read: {}: {}", blind.path, blind.why));
    }
    // Anything that only looks like a secret is reported by `scan --store`. A deploy is refused only for a real value.
    let leaks: Vec<Error> = report
        .findings
        .iter()
        .filter_map(|finding| {
            let secret = finding.secret.as_ref()?;
            let text = format!("{}:{}: the value of {secret} stands there in the clear", finding.path, finding.line);
            Some(Error::new(Kind::Plaintext, text).help(finding.help.clone()))
        })
        .collect();
    if leaks.is_empty() {
        return Ok(());
    }
    let message = format!("{} values stand in what was built; nothing was copied or changed", leaks.len());
    Err(Error::batch(message, leaks).of_kind(Kind::Plaintext))
}

/// The path of the marker in this clone that the user was informed that nothing is searched.
fn said(session: &Session) -> Option<PathBuf> {
    let place = session.fleet.git().and_then(|git| git.place_of(&session.fleet.root)).ok()?;
    Some(place.join("not-searched"))
}

/// Says that built paths are not searched: at the first deploy from a clone, and at the first after one that did
/// search.
fn say_once(session: &Session) {
    let said = said(session);
    if said.as_ref().is_some_and(|said| said.exists()) {
        return;
    }
    session.note(
        "what was built is not searched for values of secrets: no identity was given (`--identity`), and there is no index of \
         values (`sealift scan --write-index` makes one). This is said once in this clone",
    );
    // If the marker cannot be written, the message is shown again.
    let _kept = said.map(|said| files::replace(&said, b"", 0o644, Durable::Later));
}

/// Returns the paths that were built on this machine and are not part of the system running on the host.
fn new_paths(campaign: &Campaign) -> Result<Vec<String>> {
    let here = Root::open(Path::new("/"))?;
    let mut new = BTreeSet::new();
    for item in campaign.hosts.values() {
        let there: BTreeSet<String> = match &item.plan.former {
            // If this machine never had that system, all paths count as new.
            Some(previous) => {
                store::contents(&here, previous).unwrap_or_default().into_iter().map(|part| part.path).collect()
            }
            None => BTreeSet::new(),
        };
        let system = Some(&item.plan.system).filter(|_| !item.there);
        let homes = item.plan.homes_to_come().filter(|_| !item.there).map(|home| &home.package);
        for path in system.into_iter().chain(item.bundle.as_ref()).chain(homes) {
            let built = store::closure_paths(path)?.into_iter().filter(|path| path.built_here).map(|path| path.path);
            new.extend(built.filter(|path| !there.contains(path)));
        }
    }
    Ok(new.into_iter().collect())
}
