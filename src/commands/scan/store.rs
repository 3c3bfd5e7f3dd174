//! The closure of a system in the Nix store, which everybody on the machine can read: every file of every path that was built
//! here, and on request of all.

use std::path::Path;

use crate::adapters::git::worktree::{self, Opened, Opener};
use crate::adapters::nix::store;
use crate::adapters::process::parallel;
use crate::commands::scan::scanner::{Out, Scanner, Subjected};
use crate::domain::scan::{Engine, Place};
use crate::error::{Error, Result};

/// Which paths of the store.
#[derive(Clone, Debug)]
pub struct Which {
    pub system: String,
    /// Also those that a cache made and signed.
    pub full: bool,
}

/// Looks at a closure. Says also how many paths were left out.
pub fn look(engine: &Engine, which: &Which) -> Result<(Out, usize)> {
    let closure = store::closure_paths(&which.system)?;
    let all = closure.len();
    let wanted: Vec<String> =
        closure.into_iter().filter(|path| which.full || path.built_here).map(|path| path.path).collect();
    let out = paths(engine, &wanted)?;
    Ok((out, all - wanted.len()))
}

/// Looks at every file of these store paths. For `deploy` too, before anything is copied.
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
