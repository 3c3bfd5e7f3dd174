//! A machine's root directory, `/` or another directory, read without ever leaving it. A NixOS system's symlinks are
//! absolute: they are resolved within this root, never in the caller's.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};

use crate::adapters::fs::files::{self, IN_ROOT};
use crate::adapters::system::{self, PATH, openat2};
use crate::error::{Error, Result};

const LIMIT: u64 = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Link,
    Directory,
    /// A file or anything else.
    Other,
}

pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    pub fn open(path: &Path) -> Result<Self> {
        let real = std::fs::canonicalize(path)
            .map_err(|error| Error::usage(format!("there is no directory {}", path.display())).because(error))?;
        let flags = PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, &real, flags, Mode::empty())
            .map_err(|error| Error::io(format!("cannot open {}", real.display()), error))?;
        Ok(Self { path: real, fd })
    }

    /// The real path of the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the root of the running machine.
    pub fn is_machine(&self) -> bool {
        self.path == Path::new("/")
    }

    /// The path of `inside` as seen from outside. Only for paths without symlinks: those passed to programs, and files
    /// that are written.
    pub fn outside(&self, inside: &str) -> PathBuf {
        self.path.join(inside.trim_start_matches('/'))
    }

    /// Like `outside`, but checks that no symlink on the way leads out of the root.
    pub fn writable(&self, inside: &str) -> Result<PathBuf> {
        let path = self.outside(inside);
        let there = path.ancestors().find_map(|above| std::fs::canonicalize(above).ok());
        match there {
            Some(there) if there.starts_with(&self.path) => Ok(path),
            _ => Err(Error::failed(format!("{} leads out of {}", path.display(), self.path.display()))
                .help("a link on the way leads elsewhere: remove it")),
        }
    }

    fn at(&self, inside: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        // Reading must not block on a FIFO; openat2 rejects the flag together with O_PATH.
        let flags = if flags.contains(PATH) { flags } else { flags | OFlags::NONBLOCK };
        openat2(&self.fd, inside, flags | OFlags::CLOEXEC, Mode::empty(), IN_ROOT)
    }

    /// Whether the path exists, following symlinks.
    pub fn exists(&self, inside: &str) -> bool {
        self.at(inside, PATH).is_ok()
    }

    /// Whether the path's symlinks form a loop.
    pub fn is_loop(&self, inside: &str) -> bool {
        matches!(self.at(inside, PATH), Err(rustix::io::Errno::LOOP))
    }

    /// What is at a path, without following a final symlink; `None` if there is nothing or it cannot be examined.
    pub fn kind(&self, inside: &str) -> Option<EntryKind> {
        let (above, name) = inside.rsplit_once('/')?;
        let above = self.at(if above.is_empty() { "/" } else { above }, PATH | OFlags::DIRECTORY).ok()?;
        let stat = rustix::fs::statat(&above, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => EntryKind::Link,
            FileType::Directory => EntryKind::Directory,
            _ => EntryKind::Other,
        })
    }

    /// Whether the path is a directory, following symlinks.
    pub fn is_directory(&self, inside: &str) -> bool {
        self.at(inside, PATH | OFlags::DIRECTORY).is_ok()
    }

    /// The size of a file, following symlinks.
    pub fn size(&self, inside: &str) -> Option<u64> {
        let stat = fstat(self.at(inside, PATH).ok()?).ok()?;
        u64::try_from(stat.st_size).ok()
    }

    /// The device number of the file system that holds the path.
    pub fn device(&self, inside: &str) -> Option<(u32, u32)> {
        let device = fstat(self.at(inside, PATH).ok()?).ok()?.st_dev;
        Some((rustix::fs::major(device), rustix::fs::minor(device)))
    }

    /// Whether the path is an executable file, following symlinks.
    pub fn is_program(&self, inside: &str) -> bool {
        let stat = self.at(inside, PATH).ok().and_then(|fd| fstat(&fd).ok());
        stat.is_some_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
        })
    }

    /// Reads a whole file; `None` if it does not exist.
    pub fn read(&self, inside: &str) -> Result<Option<Vec<u8>>> {
        files::read_in_root(&self.fd, inside, LIMIT, &self.outside(inside).display().to_string())
    }

    /// Reads a short file as a trimmed string; `None` if it does not exist or cannot be read.
    pub fn text(&self, inside: &str) -> Option<String> {
        let bytes = self.read(inside).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The target of the symlink at this path; `None` if it is not a symlink.
    pub fn link(&self, inside: &str) -> Option<String> {
        let (above, name) = inside.rsplit_once('/')?;
        let above = self.at(if above.is_empty() { "/" } else { above }, PATH | OFlags::DIRECTORY).ok()?;
        readlinkat(&above, name, Vec::new()).ok()?.into_string().ok()
    }

    /// The real path, relative to this root; `None` if it does not exist.
    pub fn resolved(&self, inside: &str) -> Option<String> {
        let real = system::path_of(&self.at(inside, PATH).ok()?)?;
        let inside = real.strip_prefix(&self.path).ok()?;
        Some(format!("/{}", inside.to_str()?))
    }

    /// The store path (`/nix/store/NAME`) that a chain of symlinks leads to.
    pub fn store_path(&self, inside: &str) -> Option<String> {
        let mut at = inside.to_owned();
        for _ in 0..16 {
            let target = self.link(&at)?;
            if let Some(name) = target.strip_prefix("/nix/store/") {
                return (!name.contains('/')).then_some(target);
            }
            at = if target.starts_with('/') { target } else { format!("{}/{target}", at.rsplit_once('/')?.0) };
        }
        None
    }

    /// The sorted names in a directory; empty if it cannot be read.
    pub fn list(&self, inside: &str) -> Vec<String> {
        let Ok(fd) = self.at(inside, OFlags::RDONLY | OFlags::DIRECTORY) else { return Vec::new() };
        let Ok(entries) = rustix::fs::Dir::read_from(&fd) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)).collect();
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }

    /// The bytes available to unprivileged users on the directory's file system; `None` if there is no such directory.
    pub fn free(&self, inside: &str) -> Option<u64> {
        let fd = self.at(inside, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
        let stat = rustix::fs::fstatvfs(&fd).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_link_starts_where_it_is() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("home/jay/state")).unwrap();
        for (target, link) in [
            ("/home/jay/state/profile", "home/jay/.nix-profile"),
            ("profile-3-link", "home/jay/state/profile"),
            ("/nix/store/x-home", "home/jay/state/profile-3-link"),
        ] {
            std::os::unix::fs::symlink(target, place.path().join(link)).unwrap();
        }
        let root = Root::open(place.path()).unwrap();
        assert_eq!(root.store_path("/home/jay/.nix-profile").as_deref(), Some("/nix/store/x-home"));
    }

    #[test]
    fn absolute_links_stay_inside() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path();
        std::fs::create_dir_all(top.join("nix/store/x-system/etc")).unwrap();
        std::fs::create_dir_all(top.join("run")).unwrap();
        std::fs::write(top.join("nix/store/x-system/etc/hostname"), "inside\n").unwrap();
        std::os::unix::fs::symlink("/nix/store/x-system", top.join("run/current-system")).unwrap();
        std::os::unix::fs::symlink("/run/current-system/etc", top.join("etc")).unwrap();
        std::os::unix::fs::symlink("../../../../../../../../etc/passwd", top.join("out")).unwrap();
        let root = Root::open(top).unwrap();
        assert_eq!(root.text("/etc/hostname").as_deref(), Some("inside"));
        assert_eq!(root.resolved("/etc/hostname").as_deref(), Some("/nix/store/x-system/etc/hostname"));
        assert_eq!(root.store_path("/run/current-system").as_deref(), Some("/nix/store/x-system"));
        assert!(!root.exists("/out") && root.text("/out").is_none());
        assert_eq!(root.list("/run"), ["current-system"]);
    }
}
