//! Files below a directory that somebody else may have filled: no symlink on the way is followed, and no path leads
//! out.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};

use crate::adapters::fs::files::{
    DIRECTORY, Durable, TEMPORARY, checked, directory, replace_in, unwritten, write_temporary,
};
use crate::adapters::system::{ResolveFlags, fsync, openat2};
use crate::error::{Error, Kind, Result};

/// A directory whose files are opened without leaving it or following symlinks.
pub struct Beneath {
    fd: OwnedFd,
    shown: PathBuf,
}

impl Beneath {
    /// Opens the directory; `None` if it does not exist.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        match openat(CWD, path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, shown: path.to_owned() })),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                Err(Error::usage(format!("{} is not a directory of its own", path.display()))
                    .help("it must be a real directory: a link could lead anywhere"))
            }
            Err(error) => Err(Error::io(format!("cannot open {}", path.display()), error)),
        }
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Reads at most `first` bytes of a file of at most `limit` bytes. Returns the file's size too.
    ///
    /// Fails like `files::open`, and if any part of the path is a symlink.
    pub fn read(&self, name: &str, first: usize, limit: u64) -> Result<(Vec<u8>, u64)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let shown = || self.shown.join(name).display().to_string();
        let fd = openat2(&self.fd, name, flags, Mode::empty(), within).map_err(|error| match error {
            rustix::io::Errno::LOOP | rustix::io::Errno::XDEV => {
                Error::integrity(format!("{} is a symbolic link, or lies behind one", shown()))
                    .help("replace the link by the file itself")
            }
            _ => Error::io(format!("cannot open {}", shown()), error),
        })?;
        let (file, size) = checked(fd, limit, &shown()).map_err(|error| error.of_kind(Kind::Integrity))?;
        let want = usize::try_from(size).unwrap_or(first).min(first);
        let mut bytes = Vec::with_capacity(want);
        // A small file takes one read.
        while bytes.len() < want {
            let read = rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes));
            match read {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io(format!("cannot read {}", shown()), error)),
            }
        }
        Ok((bytes, size))
    }
}

/// Atomically replaces or creates a file. Missing directories are created.
///
/// Fails like `files::replace`, and if a directory on the way is a symlink or not a directory.
pub fn replace(root: &Path, path: &str, bytes: &[u8], mode: u32, durable: Durable) -> Result<()> {
    let (folders, name) = split(path);
    let place = descend(root, folders, true)?;
    replace_in(&place, name.as_ref(), &root.join(path), bytes, mode, durable)
}

/// Atomically creates a file. Fails if the path exists, even if it was created meanwhile; the file is never visible in
/// part.
pub fn place(root: &Path, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let (folders, name) = split(path);
    let place = descend(root, folders, true)?;
    let shown = root.join(path);
    let temporary = write_temporary(&place, bytes, mode, Durable::Now).map_err(|error| unwritten(&shown, error))?;
    let placed = rustix::fs::linkat(&place, &temporary, &place, name, AtFlags::empty());
    // Remove the temporary name. If that fails, it is still only a link to the same file.
    let _gone = unlinkat(&place, &temporary, AtFlags::empty());
    placed.map_err(|error| match error {
        rustix::io::Errno::EXIST => {
            Error::failed(format!("{} is there already, and is not overwritten", shown.display()))
        }
        _ => unwritten(&shown, error),
    })?;
    fsync(&place).map_err(|error| unwritten(&shown, error))
}

/// Removes temporary files that a killed run left in a directory.
pub fn sweep(root: &Path, folders: &str) {
    let Ok(place) = descend(root, folders, false) else { return };
    let Ok(entries) = rustix::fs::Dir::read_from(&place) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_bytes().starts_with(TEMPORARY.as_bytes())) {
        // The next run tries again.
        let _left = unlinkat(&place, entry.file_name(), AtFlags::empty());
    }
}

/// A new file, written next to the one that it will replace.
pub struct Beside<'a> {
    root: &'a Path,
    path: &'a str,
    temporary: String,
}

impl<'a> Beside<'a> {
    /// Writes the file like `replace`, without putting it in place. All files are written first and renamed together,
    /// because file systems are slow to create files while others are removed.
    pub fn write(root: &'a Path, path: &'a str, bytes: &[u8], mode: u32) -> Result<Self> {
        let place = descend(root, split(path).0, true)?;
        let temporary =
            write_temporary(&place, bytes, mode, Durable::Later).map_err(|error| unwritten(&root.join(path), error))?;
        Ok(Self { root, path, temporary })
    }

    /// Renames the file into place.
    ///
    /// Fails like `replace`; the temporary file is removed then.
    pub fn put(self) -> Result<()> {
        let (folders, name) = split(self.path);
        let place = descend(self.root, folders, false)?;
        renameat(&place, &self.temporary, &place, name).map_err(|error| {
            self.discard();
            unwritten(&self.root.join(self.path), error)
        })
    }

    /// Removes the temporary file. If that fails, a later run sweeps it.
    pub fn discard(&self) {
        if let Ok(place) = descend(self.root, split(self.path).0, false) {
            let _left = unlinkat(&place, &self.temporary, AtFlags::empty());
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Removes a file; it may already be gone.
pub fn remove(root: &Path, path: &str) -> Result<()> {
    let (folders, name) = split(path);
    let place = descend(root, folders, false)?;
    match unlinkat(&place, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io(format!("cannot remove {}", root.join(path).display()), error)),
    }
}

/// Checks that a file could be put at this path, as far as this can be known without creating anything.
pub fn reachable(root: &Path, path: &str) -> Result<()> {
    let mut above = split(path).0;
    // Find the deepest existing directory; missing ones will be created.
    while !above.is_empty() && root.join(above).symlink_metadata().is_err() {
        above = above.rsplit_once('/').map_or("", |(above, _)| above);
    }
    descend(root, above, false).map(drop)
}

/// Opens a directory below `root`, one component at a time, without following symlinks.
fn descend(root: &Path, folders: &str, make: bool) -> Result<OwnedFd> {
    let mut place = directory(root)?;
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        let opened = match openat(&place, folder, DIRECTORY, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) if make => rustix::fs::mkdirat(&place, folder, Mode::from_raw_mode(0o755))
                .and_then(|()| openat(&place, folder, DIRECTORY, Mode::empty())),
            other => other,
        };
        place =
            opened.map_err(|error| Error::io(format!("{folder} is not a directory of its own in {folders}"), error))?;
    }
    Ok(place)
}
