//! Puts decrypted secrets in place: writes a complete new generation that nobody can reach, then makes it live with one
//! rename. If a step before that rename fails, everything is undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::adapters::host::generation::{Access, Generation};
use crate::adapters::host::links::{self, Before, Link, Obstacle, Placed};
use crate::adapters::host::tmpfs::{Generations, Run};
use crate::adapters::signals;
use crate::commands::install::open::{Loaded, Opened, Secret, link};
use crate::commands::install::request::{Report, Request};
use crate::commands::install::undo::links_of;
use crate::commands::install::units::UnitActions;
use crate::commands::talk::{Event, Talk};
use crate::domain::manifest::install_status::{Entry, Outcome, Status, Units, VERSION, value_digest};
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// What to put in place, and how.
pub struct Placing<'a> {
    pub request: &'a Request,
    pub loaded: &'a Loaded,
    /// The decrypted secrets of the manifest.
    pub opened: &'a Opened<'a>,
    /// Whether any failure stops the whole install.
    pub strict: bool,
}

/// Writes the next generation of the request's tree and makes it live.
pub fn place(placing: &Placing<'_>, run: &Run, live: Option<u64>, talk: &Arc<dyn Talk>) -> Result<Report> {
    let request = placing.request;
    let tree = request.tree;
    let generations = run.make_generations(tree)?;
    // A link to a missing generation is left by a lost mount: then nothing is live.
    let previous = live.map_or(Ok(None), |live| generations.open(live))?;
    let mut next = generations.make()?;
    let mut links = Links { request, placed: Vec::new() };
    let made = fill(placing, &generations, previous.as_ref(), &mut next, &mut links, talk).and_then(|filled| {
        signals::check()?;
        run.swap(tree, next.number).map(|()| filled)
    });
    let mut filled = match made {
        Ok(filled) => filled,
        Err(error) => {
            links.take_back();
            // What cannot be removed was never live; the next install removes it.
            let _left = generations.remove(next.number);
            return Err(error);
        }
    };
    // The new state is final from here on. Failures are only reported.
    let warn = |error: Error| talk.event(Event::Warning(error.in_one_line()));
    if let Some(previous) = &previous {
        links.remove_gone(previous).err().into_iter().for_each(warn);
    }
    prune(&generations, next.number, previous.as_ref(), placing.loaded.manifest.keep_generations)
        .into_iter()
        .for_each(warn);
    if previous.is_some() {
        let (units, failures) = filled.units.touch(request.manager(), &request.root);
        filled.failures.extend(failures);
        if units != Units::default() {
            filled.status.units = units;
            next.write_status(&filled.status).err().into_iter().for_each(warn);
        }
    }
    Ok(Report { status: filled.status, failures: filled.failures })
}

struct Filled {
    status: Status,
    failures: Vec<Error>,
    units: UnitActions,
}

/// Writes a generation: its files, the links to them and its status.
fn fill(
    placing: &Placing<'_>,
    generations: &Generations,
    previous: Option<&Generation>,
    next: &mut Generation,
    links: &mut Links<'_>,
    talk: &Arc<dyn Talk>,
) -> Result<Filled> {
    let Placing { request, loaded, opened, strict } = *placing;
    let key = generations.key()?;
    let mut failures: Vec<Error> = opened.keyless.iter().cloned().collect();
    let previous_status = previous.and_then(|previous| previous.status().ok().flatten());
    let mut secrets = BTreeMap::new();
    let mut units = UnitActions::default();
    for secret in &opened.secrets {
        signals::check()?;
        let name = secret.target.name.as_str();
        // An owner can make the delivered file unreadable; then it counts as changed.
        let there = previous.and_then(|previous| previous.read(name).ok().flatten());
        let mut entry = entry(secret, request);
        let delivered: Option<(&Plaintext, Access)> = match (&secret.outcome, &there) {
            (Ok(ready), there) => {
                let same = there.as_ref().is_some_and(|(value, _)| value.same_as(&ready.value));
                entry.outcome = if same { Outcome::Unchanged } else { Outcome::Installed };
                Some((&ready.value, ready.access))
            }
            (Err(_), Some((value, access))) => {
                entry.outcome = Outcome::Stale;
                let known = previous_status.as_ref().and_then(|status| status.secrets.get(name));
                entry.serial = known.and_then(|known| known.serial);
                entry.ciphertext = known.and_then(|known| known.ciphertext.clone());
                Some((value, *access))
            }
            (Err(_), None) => None,
        };
        if let (Err(error), None) = (&secret.outcome, &opened.keyless) {
            failures.push(error.clone());
        }
        if let Some((value, access)) = delivered {
            next.write(name, value, access)?;
            entry.value = Some(value.expose(|bytes| value_digest(&key, name, bytes)));
            if let Err(Obstacle { error, of_owner }) = links.lead_to(secret, access) {
                if strict && !of_owner {
                    return Err(error);
                }
                let reason = error.in_one_line();
                if strict {
                    let help = error.advice().map(|help| format!("; {help}")).unwrap_or_default();
                    talk.event(Event::Warning(format!(
                        "{reason}; the value itself is at {}{help}",
                        request.usual(name)
                    )));
                } else {
                    failures.push(error);
                }
                entry.reason.get_or_insert(reason);
            }
        }
        if entry.outcome == Outcome::Installed {
            units.add(&entry.restart, &entry.reload);
        }
        secrets.insert(name.to_owned(), entry);
    }
    let status = Status {
        version: VERSION,
        host: loaded.manifest.host.to_string(),
        generation: next.number,
        former: previous.map(|previous| previous.number),
        installed: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        manifest: loaded.digest.clone(),
        secrets,
        units: Units::default(),
    };
    next.write_status(&status)?;
    generations.link_status()?;
    next.open_up()?;
    Ok(Filled { status, failures, units })
}

/// Returns the status entry of a secret before it is placed.
fn entry(secret: &Secret<'_>, request: &Request) -> Entry {
    let target = secret.target;
    let ready = secret.outcome.as_ref().ok();
    Entry {
        outcome: Outcome::Failed,
        reason: secret.outcome.as_ref().err().map(Error::in_one_line),
        serial: ready.and_then(|ready| ready.serial),
        owner: target.owner.to_string(),
        group: target.group.to_string(),
        mode: target.mode.to_string(),
        path: target.link.clone().unwrap_or_else(|| request.usual(target.name.as_str())),
        ciphertext: ready.map(|ready| ready.ciphertext.clone()),
        value: None,
        restart: target.restart.iter().map(ToString::to_string).collect(),
        reload: target.reload.iter().map(ToString::to_string).collect(),
    }
}

/// The links of this install. They are made before the rename, because a link that cannot be made must stop the
/// install. Until the rename they lead to the previous files, or nowhere.
struct Links<'a> {
    request: &'a Request,
    placed: Vec<(Link, Placed)>,
}

impl Links<'_> {
    /// Makes the link to a secret, if its path is not the default one.
    fn lead_to(&mut self, secret: &Secret<'_>, access: Access) -> Result<(), Obstacle> {
        let link = match &secret.outcome {
            Ok(ready) => ready.link.clone().transpose()?,
            Err(_) => link(secret.target, access.user, self.request.tree),
        };
        let Some(link) = link else { return Ok(()) };
        let placed = links::place(&self.request.root, &link).map_err(|obstacle| Obstacle {
            error: obstacle.error.about(&secret.target.name),
            of_owner: obstacle.of_owner,
        })?;
        self.placed.push((link, placed));
        Ok(())
    }

    fn take_back(&self) {
        for (link, placed) in self.placed.iter().rev() {
            // The failure that caused this is the one to report.
            let _left = match &placed.before {
                Before::Nothing => links::remove(&self.request.root, link, &BTreeSet::new()),
                Before::Ours(target) => {
                    let previous = Link { target: target.clone(), ..link.clone() };
                    links::place(&self.request.root, &previous).map(drop).map_err(|obstacle| obstacle.error)
                }
            };
        }
    }

    /// Removes links of the previous generation that the new one does not have.
    fn remove_gone(&self, previous: &Generation) -> Result<()> {
        let Some(status) = previous.status()? else { return Ok(()) };
        let kept = self.placed.iter().map(|(_, placed)| placed.at.clone()).collect();
        let previous = links_of(previous, &status, self.request.tree);
        let failures = previous.iter().filter_map(|link| links::remove(&self.request.root, link, &kept).err());
        Error::unless_none(failures.collect(), |_| "links of secrets that are gone could not be removed".to_owned())
    }
}

/// Removes generations beyond those to keep, and unfinished ones of killed installs.
fn prune(generations: &Generations, live: u64, previous: Option<&Generation>, keep: u32) -> Vec<Error> {
    let numbers = match generations.numbers() {
        Ok(numbers) => numbers,
        Err(error) => return vec![error],
    };
    let was_live = |number: &u64| previous.is_some_and(|previous| *number <= previous.number);
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let kept: BTreeSet<u64> = numbers.iter().rev().copied().filter(was_live).take(keep).chain([live]).collect();
    numbers
        .iter()
        .filter(|number| !kept.contains(number))
        .filter_map(|number| generations.remove(*number).err())
        .collect()
}
