//! Undoes one install, for a deploy that fails after it: makes the previous generation live again and removes the later
//! one.

use std::collections::BTreeSet;
use std::path::Path;

use crate::adapters::host::generation::Generation;
use crate::adapters::host::links::{self, Link};
use crate::adapters::host::systemd::Manager;
use crate::adapters::host::tmpfs::Run;
use crate::commands::install::request::take_lock;
use crate::commands::install::units::UnitActions;
use crate::domain::manifest::install_status::{Entry, Status, Tree};
use crate::error::{Error, Kind, Result};

/// Undoes the install of this generation. Returns what failed after the previous one became live.
///
/// Fails without any change if the generation is not live, or its previous one was not kept.
pub fn undo(root: &Path, tree: Tree, generation: u64) -> Result<Vec<Error>> {
    let none = || Error::failed(format!("generation {generation} of {} is not live", tree.delivered()));
    let run = Run::open(root)?.ok_or_else(none)?;
    let _lock = take_lock(&run, "sealift, undoing an install")?;
    let generations = run.generations(tree)?.ok_or_else(none)?;
    if run.live(tree)? != Some(generation) {
        return Err(none().help("something was installed since: install the manifest that is wanted"));
    }
    let later = generations.open(generation)?.ok_or_else(none)?;
    let later_status =
        later.status()?.ok_or_else(|| Error::failed(format!("generation {generation} has no status")))?;
    let previous = match later_status.former {
        Some(number) => Some(generations.open(number)?.ok_or_else(|| {
            Error::new(Kind::Failed, format!("generation {number}, which was live before {generation}, was not kept"))
                .help("install the previous system's manifest instead, and set `keep_generations` to 1 or more")
        })?),
        None => None,
    };
    let status = previous.as_ref().map_or(Ok(None), Generation::status)?;
    let links = match (&previous, &status) {
        (Some(previous), Some(status)) => links_of(previous, status, tree),
        _ => Vec::new(),
    };
    match &previous {
        Some(previous) => run.swap(tree, previous.number)?,
        None => run.unlink(tree)?,
    }
    let (mut kept, mut failures) = (BTreeSet::new(), Vec::new());
    for placed in links.iter().map(|link| links::place(root, link)) {
        match placed {
            Ok(placed) => drop(kept.insert(placed.at)),
            Err(obstacle) => failures.push(obstacle.error),
        }
    }
    let later_links = links_of(&later, &later_status, tree);
    failures.extend(later_links.iter().filter_map(|link| links::remove(root, link, &kept).err()));
    if let (Some(previous), Some(status)) = (&previous, &status) {
        let (_, more) = changed(previous, status, &later, &later_status).touch(Manager::Machine, root);
        failures.extend(more);
    }
    failures.extend(generations.remove(generation).err());
    Ok(failures)
}

/// Removes everything that is installed. Restarts no units: those that used the secrets are removed as well.
pub fn clear(root: &Path, tree: Tree) -> Result<()> {
    let Some(run) = Run::open(root)? else { return Ok(()) };
    let _lock = take_lock(&run, "sealift, undoing an install")?;
    let (Some(generations), Some(number)) = (run.generations(tree)?, run.live(tree)?) else { return Ok(()) };
    let live = generations.open(number)?;
    run.unlink(tree)?;
    let mut faults = Vec::new();
    if let Some(live) = live
        && let Some(status) = live.status()?
    {
        faults.extend(
            links_of(&live, &status, tree).iter().filter_map(|link| links::remove(root, link, &BTreeSet::new()).err()),
        );
    }
    faults.extend(generations.numbers()?.into_iter().filter_map(|number| generations.remove(number).err()));
    Error::unless_none(faults, |_| "secrets that were delivered stay".to_owned())
}

/// Returns the links that the install of this generation made. Each has the owner of the file it leads to.
pub(super) fn links_of(generation: &Generation, status: &Status, tree: Tree) -> Vec<Link> {
    let link = |(name, entry): (&String, &Entry)| {
        let target = format!("{}/{name}", tree.delivered());
        if entry.path == target {
            return None;
        }
        let owner = generation.access(name)?.user;
        Some(Link { path: entry.path.clone(), target, owner, home: None })
    };
    status.secrets.iter().filter_map(link).collect()
}

/// Returns the units of secrets whose values differ between the two generations. An unreadable file counts as
/// different.
fn changed(previous: &Generation, status: &Status, later: &Generation, later_status: &Status) -> UnitActions {
    let mut wanted = UnitActions::default();
    for (name, entry) in &later_status.secrets {
        let same = match (previous.read(name), later.read(name)) {
            (Ok(Some((one, _))), Ok(Some((other, _)))) => one.same_as(&other),
            (Ok(None), Ok(None)) => true,
            _ => false,
        };
        if !same {
            wanted.add(&entry.restart, &entry.reload);
            if let Some(before) = status.secrets.get(name) {
                wanted.add(&before.restart, &before.reload);
            }
        }
    }
    wanted
}
