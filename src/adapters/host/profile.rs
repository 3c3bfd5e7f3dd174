//! The system profile of a machine: a link to numbered links, one for each generation. Read from the links themselves
//! (`nix-env --list-generations` needs root, and takes the date of what a link leads to); changed by nix-env, which has a
//! lock of its own for it.

use std::path::Path;

use jiff::Timestamp;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::process::Invocation;
use crate::error::Result;

/// The folder of the system profile.
const FOLDER: &str = "/nix/var/nix/profiles";

/// One generation of the system profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// When its link was made.
    pub made: Option<Timestamp>,
    /// The system that it leads to; none where that is gone.
    pub system: Option<String>,
}

/// All generations, oldest first.
pub fn generations(root: &Root) -> Vec<Generation> {
    let mut all: Vec<_> = root
        .list(FOLDER)
        .iter()
        .filter_map(|name| {
            let link = format!("{FOLDER}/{name}");
            let system = root.store_path(&link).filter(|system| root.exists(system));
            Some(Generation { number: number(name)?, made: made(&root.outside(&link)), system })
        })
        .collect();
    all.sort_by_key(|generation| generation.number);
    all
}

/// The number of the current generation; none where there is no profile.
pub fn current(root: &Root) -> Option<u64> {
    number(root.link(&format!("{FOLDER}/system"))?.rsplit('/').next()?)
}

/// The system of the current generation.
pub fn current_system(root: &Root) -> Option<String> {
    root.store_path(&format!("{FOLDER}/system"))
}

fn number(link: &str) -> Option<u64> {
    link.strip_prefix("system-")?.strip_suffix("-link")?.parse().ok()
}

/// When the link itself was made: what it leads to is as old as all of the store, 1970.
fn made(link: &Path) -> Option<Timestamp> {
    let metadata = std::fs::symlink_metadata(link).ok()?;
    Timestamp::try_from(metadata.modified().ok()?).ok()
}

fn nix_env(root: &Root) -> Invocation {
    let call = Invocation::new("nix-env");
    let call = if root.is_machine() { call } else { call.arg("--store").arg(root.path()) };
    call.arg("--profile").arg(root.outside(&format!("{FOLDER}/system")))
}

/// Makes a system the current generation. Where the current or the newest one is that system, no new one is made.
pub fn set(root: &Root, system: &str) -> Result<()> {
    if current_system(root).as_deref() == Some(system) {
        return Ok(());
    }
    let folder = root.writable(FOLDER)?;
    files::make_directory(&folder)?;
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
        None => files::remove(&root.outside(&format!("{FOLDER}/system")))?,
    }
    for newer in generations(root).iter().map(|generation| generation.number).filter(|number| !there.contains(number)) {
        files::remove(&root.outside(&format!("{FOLDER}/system-{newer}-link")))?;
    }
    Ok(())
}
