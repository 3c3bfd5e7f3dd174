//! Profiles of nix, the system's above all: a link to numbered links, one for each generation. Read from the links themselves
//! (`nix-env --list-generations` needs root, and takes the date of what a link leads to); changed by nix-env, which has a
//! lock of its own for it.

use std::path::Path;

use jiff::Timestamp;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::process::Invocation;
use crate::error::Result;

const SYSTEM: &str = "/nix/var/nix/profiles/system";

/// One generation of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemGeneration {
    pub number: u64,
    /// When its link was made.
    pub made: Option<Timestamp>,
    /// The store path that it leads to; none where that is gone.
    pub leads_to: Option<String>,
}

/// All generations of the system, oldest first.
pub fn generations(root: &Root) -> Vec<SystemGeneration> {
    generations_of(root, SYSTEM)
}

/// All generations of a profile, oldest first.
pub fn generations_of(root: &Root, profile: &str) -> Vec<SystemGeneration> {
    let Some((folder, _)) = profile.rsplit_once('/') else { return Vec::new() };
    let generation = |name: &String| {
        let link = format!("{folder}/{name}");
        let leads_to = root.store_path(&link).filter(|path| root.exists(path));
        Some(SystemGeneration { number: number(profile, name)?, made: made(&root.outside(&link)), leads_to })
    };
    let mut all: Vec<_> = root.list(folder).iter().filter_map(generation).collect();
    all.sort_by_key(|generation| generation.number);
    all
}

/// The number of the current generation of the system; none where there is no profile.
pub fn current(root: &Root) -> Option<u64> {
    current_of(root, SYSTEM)
}

/// The same of a profile.
pub fn current_of(root: &Root, profile: &str) -> Option<u64> {
    number(profile, root.link(profile)?.rsplit('/').next()?)
}

/// The system of the current generation.
pub fn current_system(root: &Root) -> Option<String> {
    root.store_path(SYSTEM)
}

/// The number of a profile's generation, by the name of its link.
fn number(profile: &str, link: &str) -> Option<u64> {
    let (_, name) = profile.rsplit_once('/')?;
    link.strip_prefix(name)?.strip_prefix('-')?.strip_suffix("-link")?.parse().ok()
}

/// When the link itself was made: what it leads to is as old as all of the store, 1970.
fn made(link: &Path) -> Option<Timestamp> {
    let metadata = std::fs::symlink_metadata(link).ok()?;
    Timestamp::try_from(metadata.modified().ok()?).ok()
}

fn nix_env(root: &Root) -> Invocation {
    let call = Invocation::new("nix-env");
    let call = if root.is_machine() { call } else { call.arg("--store").arg(root.path()) };
    call.arg("--profile").arg(root.outside(SYSTEM))
}

/// Makes a system the current generation. Where the current or the newest one is that system, no new one is made.
pub fn set(root: &Root, system: &str) -> Result<()> {
    if current_system(root).as_deref() == Some(system) {
        return Ok(());
    }
    root.writable(SYSTEM)?.parent().map_or(Ok(()), files::make_directory)?;
    nix_env(root).args(["--set", system]).read().map(drop)
}

/// Makes an existing generation the current one.
pub fn switch(root: &Root, number: u64) -> Result<()> {
    nix_env(root).args(["--switch-generation", &number.to_string()]).read().map(drop)
}

/// Brings the profile back to what it was: this generation current (none: no profile at all), and only these
/// generations there.
pub fn restore(root: &Root, number: Option<u64>, there: &[u64]) -> Result<()> {
    match number {
        Some(number) if current(root) != Some(number) => switch(root, number)?,
        Some(_) => {}
        None => files::remove(&root.outside(SYSTEM))?,
    }
    for newer in generations(root).iter().map(|generation| generation.number).filter(|number| !there.contains(number)) {
        files::remove(&root.outside(&format!("{SYSTEM}-{newer}-link")))?;
    }
    Ok(())
}
