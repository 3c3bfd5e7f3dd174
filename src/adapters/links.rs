//! Links of their own to delivered secrets, where a secret's `path` is not the usual place. They are made only where
//! nobody else could put something in their way: the walk to them follows no link and looks at each directory that it
//! has opened, so there is nothing to swap between the look and the use.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, readlinkat, statat, unlinkat};
use rustix::io::Errno;

use super::files;
use super::generation::replace_link;
use super::volatile::make_directory;
use crate::error::{Error, Result};
use crate::fleet::delivery::{DELIVERED, DELIVERED_FOR_USERS, is_below, taken};

/// A link to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where, from the root of the system: absolute, and without `..`.
    pub path: String,
    /// The delivered file that it leads to.
    pub target: String,
    /// The number of the secret's owner, who may own the directories on the way too.
    pub owner: u32,
}

/// What stood where a link was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A link of ours, to this.
    Ours(String),
}

/// Whether a link could be made, without making anything.
///
/// # Errors
/// Why not.
pub fn check(root: &Path, link: &Link) -> Result<()> {
    match walk(root, link, false)? {
        Some((parent, name)) => standing(&parent, name, root, &link.path).map(drop),
        None => Ok(()),
    }
}

/// Makes or turns a link with one rename. Says what was there.
///
/// # Errors
/// As `check`, and when it cannot be written.
pub fn place(root: &Path, link: &Link) -> Result<Before> {
    let Some((parent, name)) = walk(root, link, true)? else {
        return Err(Error::failed(format!("{} cannot be made", shown(root, &link.path).display())));
    };
    let before = standing(&parent, name, root, &link.path)?;
    if before != Before::Ours(link.target.clone()) {
        replace_link(&parent, name, &link.target)
            .map_err(|error| Error::io(format!("cannot make the link {}", shown(root, &link.path).display()), error))?;
    }
    Ok(before)
}

/// Removes a link if it still is ours.
///
/// # Errors
/// When it is ours and cannot be removed.
pub fn remove(root: &Path, link: &Link) -> Result<()> {
    let Ok(Some((parent, name))) = walk(root, link, false) else { return Ok(()) };
    if let Ok(Before::Ours(_)) = standing(&parent, name, root, &link.path) {
        unlinkat(&parent, name, AtFlags::empty()).map_err(|error| {
            Error::io(format!("cannot remove the link {}", shown(root, &link.path).display()), error)
        })?;
    }
    Ok(())
}

/// Opens the directory that a link lies in, from the root on, one step at a time. None if a step is missing and is not
/// to be made.
fn walk<'a>(root: &Path, link: &'a Link, make: bool) -> Result<Option<(OwnedFd, &'a str)>> {
    let path = link.path.as_str();
    if let Some(why) = taken(path) {
        return Err(Error::failed(format!("{path} is no place for a link to a secret: {why}")));
    }
    let refused = |at: &Path, why: &str| {
        Error::failed(format!("{} is not made: {} {why}", shown(root, path).display(), at.display()))
            .hint("choose a path whose directories only root can change, or leave the secret at its usual place")
    };
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at = root.to_owned();
    let mut parent = files::directory(root)?;
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        let stat = fstat(&parent).map_err(|error| Error::io(format!("cannot look at {}", at.display()), error))?;
        fits(&stat, link.owner).map_err(|why| refused(&at, why))?;
        at.push(folder);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        parent = match openat(&parent, folder, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if make => make_directory(&parent, folder, 0o755, &at)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(refused(&at, "is a link or a file, not a directory")),
            Err(error) => return Err(Error::io(format!("cannot open {}", at.display()), error)),
        };
        if statat(&parent, ".git", AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(refused(&at, "is a git tree, and git would store the link"));
        }
    }
    let stat = fstat(&parent).map_err(|error| Error::io(format!("cannot look at {}", at.display()), error))?;
    fits(&stat, link.owner).map_err(|why| refused(&at, why))?;
    Ok(Some((parent, name)))
}

/// Whether only root, we and the secret's owner can change what lies in a directory.
fn fits(directory: &Stat, owner: u32) -> Result<(), &'static str> {
    let us = rustix::process::geteuid().as_raw();
    if ![0, us, owner].contains(&directory.st_uid) {
        Err("belongs to another user")
    } else if directory.st_mode & 0o002 != 0 {
        Err("can be written to by everybody")
    } else if directory.st_mode & 0o020 != 0 && directory.st_gid != 0 {
        Err("can be written to by a group")
    } else {
        Ok(())
    }
}

/// What stands where a link goes.
fn standing(parent: &OwnedFd, name: &str, root: &Path, path: &str) -> Result<Before> {
    let foreign = |what: &str| {
        Err(Error::failed(format!("{} is {what}, and is not replaced", shown(root, path).display()))
            .hint(format!("see what it is, and move it away: mv {0} {0}.old", shown(root, path).display())))
    };
    match readlinkat(parent, name, Vec::new()) {
        Ok(target) => match target.into_string() {
            Ok(target) if is_below(&target, DELIVERED) || is_below(&target, DELIVERED_FOR_USERS) => {
                Ok(Before::Ours(target))
            }
            _ => foreign("a link of another program"),
        },
        Err(Errno::NOENT) => Ok(Before::Nothing),
        Err(Errno::INVAL) => foreign("there already, and is no link"),
        Err(error) => Err(Error::io(format!("cannot look at {}", shown(root, path).display()), error)),
    }
}

fn shown(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn link(path: &str) -> Link {
        Link { path: path.to_owned(), target: "/run/sealift/a".to_owned(), owner: rustix::process::geteuid().as_raw() }
    }

    #[test]
    fn a_link_is_made_turned_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut link = link("/etc/a/token");
        assert_eq!(place(root.path(), &link).unwrap(), Before::Nothing);
        link.target = "/run/sealift/b".to_owned();
        assert_eq!(place(root.path(), &link).unwrap(), Before::Ours("/run/sealift/a".to_owned()));
        assert_eq!(std::fs::read_link(root.path().join("etc/a/token")).unwrap(), Path::new("/run/sealift/b"));
        remove(root.path(), &link).unwrap();
        assert!(root.path().join("etc/a/token").symlink_metadata().is_err());
    }

    #[test]
    fn where_others_could_interfere_nothing_is_made() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path();
        for folder in ["open", "group", "tree/.git", "tree/below", "outside", "usual"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        std::fs::set_permissions(top.join("open"), PermissionsExt::from_mode(0o1777)).unwrap();
        std::fs::set_permissions(top.join("group"), PermissionsExt::from_mode(0o775)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(top.join("group"), Some(0), Some(100)).unwrap();
        }
        symlink("outside", top.join("led")).unwrap();
        symlink("/etc/passwd", top.join("usual/foreign")).unwrap();
        std::fs::create_dir(top.join("usual/folder")).unwrap();
        for path in [
            "/open/token",
            "/open/below/token",
            "/group/token",
            "/led/token",
            "/tree/token",
            "/tree/below/token",
            "/usual/foreign",
            "/usual/folder",
            "/usual/foreign/below",
            "/run/sealift/x",
            "/run/sealift",
            "/run/sealift.d/1/a",
            "/run/sealift.lock",
            "/nix/store/x",
        ] {
            assert!(check(top, &link(path)).is_err(), "{path}");
            assert!(place(top, &link(path)).is_err(), "{path}");
            remove(top, &link(path)).unwrap();
        }
        assert!(top.join("usual/foreign").symlink_metadata().is_ok() && top.join("usual/folder").is_dir());
        assert_eq!(std::fs::read_dir(top.join("outside")).unwrap().count(), 0);
    }
}
