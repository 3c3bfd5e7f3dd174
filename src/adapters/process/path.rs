//! Where programs are found: in the directories of PATH, but in no work tree that is worked on, where anyone who can write to
//! the repository could have put them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Where programs are looked for, as the command line found it; until it is said, where the system looks.
static PATH: OnceLock<OsString> = OnceLock::new();

/// The work trees that are worked on.
static WORK_TREES: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// From now on programs are looked for in these directories, and children look there too.
pub fn look_in(path: OsString) {
    // Said once, at the start of the program.
    let _said_before = PATH.set(path);
}

/// From now on no program that lies in one of these is run by its name alone, and children do not look there.
pub fn keep_out_of(work_trees: Vec<PathBuf>) {
    // Said once, when the arguments are known.
    let _said_before = WORK_TREES.set(work_trees);
}

/// Whether a program lies in a work tree that is worked on, by its folder or by what a link leads to. A folder that is a link
/// out of it, such as a devshell's into the store, is where it leads.
pub fn is_of_a_work_tree(program: &Path) -> bool {
    let folder = program.parent().and_then(|folder| folder.canonicalize().ok());
    [folder, program.canonicalize().ok()].into_iter().flatten().any(|place| in_a_work_tree(&place))
}

fn in_a_work_tree(real: &Path) -> bool {
    WORK_TREES.get().into_iter().flatten().any(|top| real.starts_with(top))
}

/// Where the program is that runs when it is called by this name, in the directories that programs are looked for in.
pub fn found(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    everywhere(program.as_ref()).find(|place| !is_of_a_work_tree(place))
}

/// The first program of this name there, which others may run.
pub fn first(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    everywhere(program.as_ref()).next()
}

/// Every place where a program is found, the first first.
fn everywhere(program: &OsStr) -> impl Iterator<Item = PathBuf> {
    let executable = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    let directories = PATH.get().into_iter().flat_map(std::env::split_paths);
    directories.map(move |directory| directory.join(program)).filter(executable)
}

/// Where children look for programs; none until it is said.
pub(super) fn of_children() -> Option<OsString> {
    let path = PATH.get()?;
    let foreign = |entry: &PathBuf| entry.canonicalize().is_ok_and(|real| in_a_work_tree(&real));
    let entries = std::env::split_paths(path).filter(|entry| !foreign(entry));
    Some(std::env::join_paths(entries).unwrap_or_else(|_| path.clone()))
}

/// Where a program of this name lies; none until it is said where programs are looked for.
///
/// Fails where it is nowhere, or only in a work tree that is worked on.
pub(super) fn place(program: &OsStr) -> Result<Option<PathBuf>> {
    if PATH.get().is_none() {
        return Ok(None);
    }
    if let Some(place) = found(program) {
        return Ok(Some(place));
    }
    let name = program.to_string_lossy();
    Err(match first(program) {
        Some(place) => Error::failed(format!(
            "{} is not run: it lies in the repository, where anyone who can write to it could have put it",
            place.display()
        ))
        .help(format!("install {name} outside of the repository")),
        None => missing(&name),
    })
}

pub(super) fn missing(name: &str) -> Error {
    Error::failed(format!("{name} is not installed, or not in PATH")).help(format!("install {name}"))
}
