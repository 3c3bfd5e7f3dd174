//! Where programs are found: in the directories of PATH, but not in a work tree in use, where anyone who can write to
//! the repository could have put them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// The PATH given by the command line; until it is set, the system's lookup applies.
static PATH: OnceLock<OsString> = OnceLock::new();

/// The work trees in use.
static WORK_TREES: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Sets the directories in which we and our children look for programs.
pub fn look_in(path: OsString) {
    // Set once, at program start.
    let _said_before = PATH.set(path);
}

/// Excludes programs in these work trees from lookup by name, also for children.
pub fn keep_out_of(work_trees: Vec<PathBuf>) {
    // Set once, after the arguments are parsed.
    let _said_before = WORK_TREES.set(work_trees);
}

/// Whether a program is in a work tree in use: either its directory or, if it is a symlink, its target. A directory is
/// judged by its real path, so that a symlink out of the work tree, such as a devshell's into the store, is allowed.
pub fn is_of_a_work_tree(program: &Path) -> bool {
    let folder = program.parent().and_then(|folder| folder.canonicalize().ok());
    [folder, program.canonicalize().ok()].into_iter().flatten().any(|place| in_a_work_tree(&place))
}

fn in_a_work_tree(real: &Path) -> bool {
    WORK_TREES.get().into_iter().flatten().any(|top| real.starts_with(top))
}

/// The path of the program that is run for this name.
pub fn found(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    everywhere(program.as_ref()).find(|place| !is_of_a_work_tree(place))
}

/// The first executable of this name in PATH, even if it is in a work tree.
pub fn first(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    everywhere(program.as_ref()).next()
}

/// All executables of this name, in PATH order.
fn everywhere(program: &OsStr) -> impl Iterator<Item = PathBuf> {
    let executable = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    let directories = PATH.get().into_iter().flat_map(std::env::split_paths);
    directories.map(move |directory| directory.join(program)).filter(executable)
}

/// The PATH for children; `None` until `look_in` was called.
pub(super) fn of_children() -> Option<OsString> {
    let path = PATH.get()?;
    let foreign = |entry: &PathBuf| entry.canonicalize().is_ok_and(|real| in_a_work_tree(&real));
    let entries = std::env::split_paths(path).filter(|entry| !foreign(entry));
    Some(std::env::join_paths(entries).unwrap_or_else(|_| path.clone()))
}

/// The path of the program of this name; `None` until `look_in` was called.
///
/// Fails if there is none, or only one in a work tree in use.
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
