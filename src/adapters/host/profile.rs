//! Nix profiles, mainly the system's: a symlink to numbered symlinks, one per generation. Read from the symlinks
//! themselves, because `nix-env --list-generations` needs root and shows the date of the target; changed by nix-env,
//! which has its own lock.

use std::path::Path;

use jiff::Timestamp;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::process::Invocation;
use crate::error::Result;

const SYSTEM: &str = "/nix/var/nix/profiles/system";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemGeneration {
    pub number: u64,
    /// When the symlink was created.
    pub made: Option<Timestamp>,
    /// The store path it points to; `None` if that is gone.
    pub leads_to: Option<String>,
}

/// The system's generations, oldest first.
pub fn generations(root: &Root) -> Vec<SystemGeneration> {
    generations_of(root, SYSTEM)
}

/// A profile's generations, oldest first.
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

/// The system's current generation; `None` if there is no profile.
pub fn current(root: &Root) -> Option<u64> {
    current_of(root, SYSTEM)
}

/// A profile's current generation.
pub fn current_of(root: &Root, profile: &str) -> Option<u64> {
    number(profile, root.link(profile)?.rsplit('/').next()?)
}

/// The store path of the current generation.
pub fn current_system(root: &Root) -> Option<String> {
    root.store_path(SYSTEM)
}

/// The generation number in the name of a profile's symlink.
fn number(profile: &str, link: &str) -> Option<u64> {
    let (_, name) = profile.rsplit_once('/')?;
    link.strip_prefix(name)?.strip_prefix('-')?.strip_suffix("-link")?.parse().ok()
}

/// The time of the symlink itself: its target is dated 1970, like the whole store.
fn made(link: &Path) -> Option<Timestamp> {
    let metadata = std::fs::symlink_metadata(link).ok()?;
    Timestamp::try_from(metadata.modified().ok()?).ok()
}

fn nix_env(root: &Root) -> Invocation {
    let call = Invocation::new("nix-env");
    let call = if root.is_machine() { call } else { call.arg("--store").arg(root.path()) };
    call.arg("--profile").arg(root.outside(SYSTEM))
}

/// Makes a system the current generation. No new one is created if the current or the newest generation is that system.
pub fn set(root: &Root, system: &str) -> Result<()> {
    if current_system(root).as_deref() == Some(system) {
        return Ok(());
    }
    root.writable(SYSTEM)?.parent().map_or(Ok(()), files::make_directory)?;
    nix_env(root).args(["--set", system]).read().map(drop)
}

/// Switches to an existing generation.
pub fn switch(root: &Root, number: u64) -> Result<()> {
    nix_env(root).args(["--switch-generation", &number.to_string()]).read().map(drop)
}

/// Restores the profile: this generation is current (`None`: no profile at all), and only the generations in `there`
/// exist.
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
