//! Looks for the fleet's own values in what is about to be copied: anyone who can log in on a host reads its store.

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
    /// With the identity that was named for this run.
    Values,
    /// None was named: by the index of values, where there is one and its key is at hand. Else that is said.
    Index(KeyAt),
    /// It was asked not to.
    Skip,
}

/// Looks at the store paths that were built here and are new to their hosts.
///
/// Fails with `Plaintext` where a value stands in one of them; and when none could be opened to be looked for.
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
    // Should a later deploy not search any more, that is news.
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
    // What only looks like a secret is for `scan --store` to tell: a deploy is refused for what is one.
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

/// Where it is kept that a person was told that nothing is searched: in this clone.
fn said(session: &Session) -> Option<PathBuf> {
    let place = session.fleet.git().and_then(|git| git.place_of(&session.fleet.root)).ok()?;
    Some(place.join("not-searched"))
}

/// Says that what was built is not searched: at the first deploy from a clone, and at the first after one that searched.
fn say_once(session: &Session) {
    let said = said(session);
    if said.as_ref().is_some_and(|said| said.exists()) {
        return;
    }
    session.note(
        "what was built is not searched for values of secrets: no identity was given (`--identity`), and there is no index of \
         values (`sealift scan --write-index` makes one). This is said once in this clone",
    );
    // Where it cannot be kept it is said again.
    let _kept = said.map(|said| files::replace(&said, b"", 0o644, Durable::Later));
}

/// What was built on this machine and is not part of what runs on the host.
fn new_paths(campaign: &Campaign) -> Result<Vec<String>> {
    let here = Root::open(Path::new("/"))?;
    let mut new = BTreeSet::new();
    for item in campaign.hosts.values() {
        let there: BTreeSet<String> = match &item.plan.former {
            // Where this machine never had it, everything counts as new.
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
