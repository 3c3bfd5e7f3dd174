//! Generations of delivered secrets: numbered directories in memory, and the symlink that makes one of them live with
//! one rename. Nobody but root can access a generation until it is complete.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, openat, renameat, statat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use crate::adapters::fs::files::{self, DIRECTORY, TEMPORARY};
use crate::adapters::host::tmpfs::{Generations, Run, make_directory};
use crate::domain::manifest::install_status::{STATUS, Status, Tree, VERSION, number};
use crate::domain::secret::age_header::FILE_LIMIT;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::versioned;
use crate::error::{Error, Result};

/// The key of the value digests, made once per boot.
const KEY: &str = ".key";
/// The symlink to the live generation's status.
const STATUS_LINK: &str = "status.json";
const STATUS_LIMIT: usize = 16 << 20;
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The owner, group and mode of a delivered file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub user: u32,
    pub group: u32,
    pub mode: u32,
}

pub struct Generation {
    pub number: u64,
    shown: PathBuf,
    top: OwnedFd,
    /// The directories created in it so far.
    folders: BTreeSet<String>,
    mode: u32,
}

impl Generations {
    /// The existing numbers, ascending. Entries with other names are not ours, and ignored.
    pub fn numbers(&self) -> Result<Vec<u64>> {
        let failed = |error: Errno| Error::io(format!("cannot list {}", self.shown.display()), error);
        let mut numbers = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            numbers.extend(entry.map_err(failed)?.file_name().to_str().ok().and_then(number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Creates the next one, accessible only by root.
    pub fn make(&self) -> Result<Generation> {
        let number = self.numbers()?.last().copied().unwrap_or(0).saturating_add(1);
        let shown = self.shown.join(number.to_string());
        let top = make_directory(&self.fd, &number.to_string(), 0o700, &shown)?;
        Ok(self.generation(number, shown, top))
    }

    fn generation(&self, number: u64, shown: PathBuf, top: OwnedFd) -> Generation {
        Generation { number, shown, top, folders: BTreeSet::new(), mode: self.tree.directory_mode() }
    }

    /// Opens a generation; `None` if it does not exist.
    pub fn open(&self, number: u64) -> Result<Option<Generation>> {
        let shown = self.shown.join(number.to_string());
        match openat(&self.fd, number.to_string(), DIRECTORY, Mode::empty()) {
            Ok(top) => Ok(Some(self.generation(number, shown, top))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io(format!("cannot open {}", shown.display()), error)),
        }
    }

    /// Removes a generation and everything in it.
    pub fn remove(&self, number: u64) -> Result<()> {
        remove_all(&self.fd, &number.to_string()).map_err(|error| {
            Error::io(format!("cannot remove {}", self.shown.join(number.to_string()).display()), error)
        })
    }

    /// The key of the value digests; created on the first call after a boot.
    pub fn key(&self) -> Result<[u8; 32]> {
        let failed = |error: Errno| Error::io(format!("cannot keep a key in {}", self.shown.display()), error);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut key = [0; 32];
        match openat(&self.fd, KEY, flags, Mode::empty()) {
            Ok(fd) if rustix::io::read(&fd, &mut key).map_err(failed)? == key.len() => return Ok(key),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
        files::random(&mut key)?;
        replace(&self.fd, KEY, &key, 0o400).map_err(failed)?;
        Ok(key)
    }

    /// Creates `status.json`, a symlink to the status of whichever generation is live.
    pub fn link_status(&self) -> Result<()> {
        match symlinkat(format!("../{}/{STATUS}", self.tree.link()), &self.fd, STATUS_LINK) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(Error::io(format!("cannot make {}", self.shown.join(STATUS_LINK).display()), error)),
        }
    }
}

impl Generation {
    /// Writes a new file. Only root can access it until its owner and mode are set.
    ///
    /// On failure it may be incomplete, and the generation must be removed.
    pub fn write(&mut self, name: &str, value: &Plaintext, access: Access) -> Result<()> {
        let shown = self.shown.join(name);
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.make_folder(folder)?;
        }
        let attempt = || {
            let fd = openat(&self.top, name, NEW_FILE, Mode::from_raw_mode(0o400))?;
            value.expose(|bytes| write_all(&fd, bytes))?;
            fchown(&fd, Some(Uid::from_raw(access.user)), Some(Gid::from_raw(access.group)))?;
            fchmod(&fd, Mode::from_raw_mode(access.mode))
        };
        attempt().map_err(|error| {
            let failed = Error::io(format!("cannot write {}", shown.display()), error);
            if error == Errno::PERM {
                failed.help("only root may give files to others: run this as root")
            } else {
                failed
            }
        })
    }

    /// Reads a file and its access; `None` if there is no regular file.
    pub fn read(&self, name: &str) -> Result<Option<(Plaintext, Access)>> {
        let failed =
            |error: std::io::Error| Error::io(format!("cannot read {}", self.shown.join(name).display()), error);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match openat(&self.top, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let stat = fstat(&fd).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let limit = usize::try_from(FILE_LIMIT).unwrap_or(usize::MAX);
        let size = usize::try_from(stat.st_size).unwrap_or(limit);
        let value = Plaintext::read(std::fs::File::from(fd), size, limit).map_err(failed)?;
        Ok(Some((value, Access { user: stat.st_uid, group: stat.st_gid, mode: stat.st_mode & 0o7777 })))
    }

    /// The access of a file; `None` if it does not exist.
    pub fn access(&self, name: &str) -> Option<Access> {
        let stat = statat(&self.top, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Access { user: stat.st_uid, group: stat.st_gid, mode: stat.st_mode & 0o7777 })
    }

    /// Atomically replaces the generation's status.
    pub fn write_status(&self, status: &Status) -> Result<()> {
        let shown = self.shown.join(STATUS);
        let failed = |error: Errno| Error::io(format!("cannot write {}", shown.display()), error);
        let mut text = serde_json::to_vec_pretty(status)
            .map_err(|error| Error::failed("cannot write the status").because(error))?;
        text.push(b'\n');
        replace(&self.top, STATUS, &text, 0o600).map_err(failed)
    }

    /// The generation's status; `None` if it has none.
    pub fn status(&self) -> Result<Option<Status>> {
        let shown = self.shown.join(STATUS);
        let Some((text, _)) = self.read(STATUS)? else { return Ok(None) };
        let shown = shown.display();
        let damaged = || Error::failed(format!("{shown} is not well formed"));
        if text.len() > STATUS_LIMIT {
            return Err(damaged());
        }
        let other = |version| {
            Error::failed(format!("{shown} is of version {version}, and this program reads version {VERSION}"))
                .help("use the sealift that wrote it")
        };
        text.expose(|bytes| versioned::read(bytes, VERSION..=VERSION, |_| damaged(), other)).map(Some)
    }

    /// Makes the complete generation accessible.
    pub fn open_up(&self) -> Result<()> {
        fchmod(&self.top, Mode::from_raw_mode(self.mode))
            .map_err(|error| Error::io(format!("cannot open up {}", self.shown.display()), error))
    }

    /// Creates a directory and its parents, if missing.
    fn make_folder(&mut self, folder: &str) -> Result<()> {
        if self.folders.contains(folder) {
            return Ok(());
        }
        if let Some((above, _)) = folder.rsplit_once('/') {
            self.make_folder(above)?;
        }
        make_directory(&self.top, folder, self.mode, &self.shown.join(folder))?;
        self.folders.insert(folder.to_owned());
        Ok(())
    }
}

impl Run {
    /// The live generation; `None` if there is no symlink, or it is dangling, as after a lost mount.
    pub fn live_generation(&self, tree: Tree) -> Result<Option<Generation>> {
        match (self.live(tree)?, self.generations(tree)?) {
            (Some(live), Some(generations)) => generations.open(live),
            _ => Ok(None),
        }
    }

    /// Atomically makes a generation the live one.
    pub fn swap(&self, tree: Tree, number: u64) -> Result<()> {
        replace_link(&self.fd, tree.link(), &format!("{}/{number}", tree.place())).map_err(|error| {
            Error::io(format!("cannot point {} at generation {number}", self.shown.join(tree.link()).display()), error)
        })
    }

    /// Removes the symlink, so that no generation is live.
    pub fn unlink(&self, tree: Tree) -> Result<()> {
        unlinkat(&self.fd, tree.link(), AtFlags::empty())
            .map_err(|error| Error::io(format!("cannot remove {}", self.shown.join(tree.link()).display()), error))
    }
}

/// Atomically points a symlink at a target. The caller holds the lock, so only a killed run can have left the temporary
/// name, which is removed.
pub fn replace_link(parent: &OwnedFd, name: &str, target: &str) -> rustix::io::Result<()> {
    let temporary = format!("{TEMPORARY}{name}");
    match unlinkat(parent, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    symlinkat(target, parent, &temporary)?;
    renameat(parent, &temporary, parent, name).inspect_err(|_| {
        // Only the failed rename is reported.
        let _gone = unlinkat(parent, &temporary, AtFlags::empty());
    })
}

/// Atomically replaces a small file.
fn replace(parent: &OwnedFd, name: &str, bytes: &[u8], mode: u32) -> rustix::io::Result<()> {
    let temporary = format!("{TEMPORARY}{}", name.trim_start_matches('.'));
    match unlinkat(parent, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let attempt = || {
        let fd = openat(parent, &temporary, NEW_FILE, Mode::from_raw_mode(0o400))?;
        write_all(&fd, bytes)?;
        fchmod(&fd, Mode::from_raw_mode(mode))?;
        renameat(parent, &temporary, parent, name)
    };
    attempt().inspect_err(|_| {
        let _gone = unlinkat(parent, &temporary, AtFlags::empty());
    })
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes a directory and its content, without following symlinks.
fn remove_all(parent: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let fd = match openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type());
        if name == c"." || name == c".." {
            continue;
        }
        if kind == FileType::Directory {
            remove_all(&fd, &name.to_string_lossy())?;
        } else {
            unlinkat(&fd, name, AtFlags::empty())?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}
