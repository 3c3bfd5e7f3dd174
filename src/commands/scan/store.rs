//! Scans the closure of a system in the Nix store, which every user of the machine can read: each file of the paths
//! built here, or on request of all paths.

use std::path::Path;

use crate::adapters::git::worktree::{self, Opened, Opener};
use crate::adapters::nix::store;
use crate::adapters::process::parallel;
use crate::commands::scan::scanner::{Out, Scanner, Subjected};
use crate::domain::scan::{Engine, Place};
use crate::error::{Error, Result};

/// Which store paths to scan.
#[derive(Clone, Debug)]
pub struct Which {
    pub system: String,
    /// Also those from a cache, signed by it.
    pub full: bool,
}

/// Scans a closure. Also returns how many paths were skipped.
pub fn look(engine: &Engine, which: &Which) -> Result<(Out, usize)> {
    let closure = store::closure_paths(&which.system)?;
    let all = closure.len();
    let wanted: Vec<String> =
        closure.into_iter().filter(|path| which.full || path.built_here).map(|path| path.path).collect();
    let out = paths(engine, &wanted)?;
    Ok((out, all - wanted.len()))
}

/// Scans every file of these store paths. `deploy` uses this too, before it copies them.
pub fn paths(engine: &Engine, wanted: &[String]) -> Result<Out> {
    let seen = parallel::map(wanted, |path| one(engine, path));
    let mut out = Out::default();
    for one in seen {
        out.add(one?);
    }
    Ok(out)
}

fn one(engine: &Engine, path: &str) -> Result<Out> {
    let mut scanner = Scanner::new(engine);
    let root = Path::new(path);
    let kind = root.symlink_metadata().map_err(|error| Error::io(format!("cannot look at {path}"), error))?;
    if kind.is_dir() {
        let opener = Opener::new(root)?;
        worktree::walk(root, &mut |below| file(&mut scanner, &opener, path, below))?;
    } else {
        let above = root.parent().unwrap_or(Path::new("/"));
        let name = root.file_name().unwrap_or_default();
        let opener = Opener::new(above)?;
        opened(&mut scanner, path.as_bytes(), opener.open(std::os::unix::ffi::OsStrExt::as_bytes(name)));
    }
    Ok(scanner.out)
}

fn file(scanner: &mut Scanner<'_>, opener: &Opener, root: &str, below: &[u8]) {
    let whole = [root.as_bytes(), b"/", below].concat();
    opened(scanner, &whole, opener.open(below));
}

fn opened(scanner: &mut Scanner<'_>, path: &[u8], what: Opened) {
    if !scanner.opened(&Subjected { path, place: Place::Store, object: None }, what) {
        scanner.blind(path, "it disappeared while it was being read");
    }
}
