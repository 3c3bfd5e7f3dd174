//! Links of their own to delivered secrets, where a secret's `path` is not the usual place. They are made only where
//! nobody else could put something in their way: the walk to them looks at each directory that it has opened, so there
//! is nothing to swap between the look and the use. It follows links that root made where only root can make any, such as
//! `/var/run` or a `/home` that is kept elsewhere, and no other.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, readlinkat, statat, unlinkat};
use rustix::io::Errno;

use crate::adapters::fs::files::{self, DIRECTORY};
use crate::adapters::fs::owner::is_roots;
use crate::adapters::host::accounts::Home;
use crate::adapters::host::directory::{Directory, make_folder};
use crate::adapters::host::generation::replace_link;
use crate::domain::policy::paths::{DELIVERED, DELIVERED_FOR_USERS, is_below, taken};
use crate::error::{Error, Result};

/// How many links a path may lead through, as for the kernel.
const MOST_LINKS: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where, from the root of the system: absolute, and without `..`.
    pub path: String,
    /// The delivered file that it leads to.
    pub target: String,
    /// The number of the secret's owner, who may own the directories on the way too.
    pub owner: u32,
    /// The owner's home, which may have to be made.
    pub home: Option<Home>,
}

/// What stood where a link was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// A link of ours, to this.
    Ours(String),
}

/// A link that was made.
pub struct Placed {
    /// Where, after the links on the way.
    pub at: String,
    pub before: Before,
}

/// Why a link is not made.
#[derive(Clone, Debug)]
pub struct Obstacle {
    pub error: Error,
    /// Whether it lies where the secret's owner rules. What owners do there must not keep anything else from being
    /// installed.
    pub of_owner: bool,
}

impl Obstacle {
    fn about(self, root: &Path, link: &Link) -> Self {
        Self { error: self.error.about(format!("{} was not created", shown(root, &link.path).display())), ..self }
    }
}

/// Whether only root, or we, could have put there what is at a path: no directory on the way to it is another's, and nobody
/// else can write to one.
pub fn only_root(root: &Path, path: &str) -> Result<()> {
    let link = Link { path: path.to_owned(), target: String::new(), owner: 0, home: None };
    Way::walk(root, &link, false).map(drop).map_err(|obstacle| obstacle.error)
}

/// Where a link goes after the links on the way, if it could be made; nothing is made.
pub fn check(root: &Path, link: &Link) -> Result<String, Obstacle> {
    let way = Way::walk(root, link, false).map_err(|obstacle| obstacle.about(root, link))?;
    if way.parent.is_some() {
        way.standing(root)?;
    }
    Ok(way.at)
}

/// Makes or turns a link with one rename. Says what was there.
///
/// Fails as `check` does, and when it cannot be written.
pub fn place(root: &Path, link: &Link) -> Result<Placed, Obstacle> {
    let way = Way::walk(root, link, true).map_err(|obstacle| obstacle.about(root, link))?;
    let before = way.standing(root)?;
    if let Some(parent) = way.parent.as_ref().filter(|_| before != Before::Ours(link.target.clone())) {
        replace_link(parent, way.name(), &link.target).map_err(|error| {
            way.obstacle(Error::io(format!("cannot make the link {}", shown(root, &way.at).display()), error))
        })?;
    }
    Ok(Placed { at: way.at, before })
}

/// Removes a link if it still is ours, and is not at one of these places, whatever path leads there.
pub fn remove(root: &Path, link: &Link, kept: &BTreeSet<String>) -> Result<()> {
    let Ok(way) = Way::walk(root, link, false) else { return Ok(()) };
    let Some(parent) = way.parent.as_ref().filter(|_| !kept.contains(&way.at)) else { return Ok(()) };
    if let Ok(Before::Ours(_)) = way.standing(root) {
        unlinkat(parent, way.name(), AtFlags::empty())
            .map_err(|error| Error::io(format!("cannot remove the link {}", shown(root, &way.at).display()), error))?;
    }
    Ok(())
}

/// The way to a link.
struct Way {
    /// The directory that it lies in; none if that, or one above it, is missing.
    parent: Option<OwnedFd>,
    /// Where the link is, after the links on the way.
    at: String,
    /// Whether it leads out of what only root can change.
    of_owner: bool,
}

/// How far a walk came.
enum Step {
    /// To the end, or to where a directory is missing.
    There(Way),
    /// To a link; this is the path with the link followed.
    Led(String),
}

impl Way {
    /// Walks from the root on, one step at a time, and makes the directories that are missing if it may. What is missing is
    /// made like the directory above it, of the same owner and group and as open as that, so that it is no stranger there.
    fn walk(root: &Path, link: &Link, make: bool) -> Result<Self, Obstacle> {
        let mut path = link.path.clone();
        for _ in 0..=MOST_LINKS {
            match Self::descend(root, link, path, make)? {
                Step::There(way) => return Ok(way),
                Step::Led(to) => path = to,
            }
        }
        Err(Obstacle { error: refused(root, &link.path, "leads through too many links"), of_owner: false })
    }

    fn descend(root: &Path, link: &Link, path: String, make: bool) -> Result<Step, Obstacle> {
        let (mut of_owner, mut of_root) = (false, true);
        let obstacle = |of_owner, error| Obstacle { error, of_owner };
        if let Some(why) = taken(&path) {
            let error = Error::failed(format!("{} cannot be a link to a secret: {why}", link.path));
            return Err(obstacle(false, error));
        }
        let mut parent = files::directory(root).map_err(|error| obstacle(false, error))?;
        let (mut at, mut left) = (String::new(), path.trim_start_matches('/'));
        loop {
            let above =
                Directory::of(&parent).map_err(|error| obstacle(of_owner, cannot("look at", root, &at, error)))?;
            of_owner |= above.is_ruled_by(link.owner);
            of_root &= above.is_roots();
            if let Some(why) = above.fault(link.owner) {
                return Err(obstacle(of_owner, refused(root, &at, why)));
            }
            // The top may be anything: git does not look beyond a machine's own root.
            if !at.is_empty() && statat(&parent, ".git", AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Err(obstacle(of_owner, refused(root, &at, "is a git tree, and git would store the link")));
            }
            let Some((folder, rest)) = left.split_once('/') else {
                return Ok(Step::There(Self { parent: Some(parent), at: path, of_owner }));
            };
            let here = format!("{at}/{folder}");
            parent = match openat(&parent, folder, DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if make => {
                    let home = link.home.as_ref().filter(|home| home.is(&link.path, rest));
                    let access = home.map_or_else(|| above.like(), |home| (link.owner, home.group, 0o700));
                    make_folder(&parent, folder, access)
                        .map_err(|error| obstacle(of_owner, cannot("make", root, &here, error)))?
                }
                Err(Errno::NOENT) => return Ok(Step::There(Self { parent: None, at: path, of_owner })),
                Err(Errno::LOOP | Errno::NOTDIR) => match root_link(&parent, folder).filter(|_| of_root) {
                    Some(target) => return Ok(Step::Led(followed(&at, &target, rest))),
                    None => {
                        let why = "is a file, or a link that another user could have made";
                        return Err(obstacle(of_owner, refused(root, &here, why)));
                    }
                },
                // Root is refused by file systems that others serve: the owner's, if they are not root's.
                Err(error) => return Err(obstacle(link.owner != 0, cannot("open", root, &here, error))),
            };
            (at, left) = (here, rest);
        }
    }

    fn name(&self) -> &str {
        self.at.rsplit('/').next().unwrap_or_default()
    }

    fn obstacle(&self, error: Error) -> Obstacle {
        Obstacle { error, of_owner: self.of_owner }
    }

    /// What stands where the link goes.
    fn standing(&self, root: &Path) -> Result<Before, Obstacle> {
        let place = shown(root, &self.at);
        let foreign = |what: &str| {
            let error = Error::failed(format!("{} is {what}, and is not replaced", place.display()));
            self.obstacle(error.help(format!("see what it is, and move it away: mv {0} {0}.old", place.display())))
        };
        let Some(parent) = &self.parent else { return Ok(Before::Nothing) };
        match readlinkat(parent, self.name(), Vec::new()) {
            Ok(target) => match target.into_string() {
                Ok(target) if is_below(&target, DELIVERED) || is_below(&target, DELIVERED_FOR_USERS) => {
                    Ok(Before::Ours(target))
                }
                _ => Err(foreign("a link of another program")),
            },
            Err(Errno::NOENT) => Ok(Before::Nothing),
            Err(Errno::INVAL) => Err(foreign("there already, and is no link")),
            Err(error) => Err(self.obstacle(cannot("look at", root, &self.at, error))),
        }
    }
}

/// Where a link of root's leads; none for anything else.
fn root_link(parent: &OwnedFd, name: &str) -> Option<String> {
    let fd = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    let ours = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && is_roots(&stat);
    ours.then(|| readlinkat(&fd, "", Vec::new()).ok()?.into_string().ok()).flatten()
}

/// The path that a link in a directory leads to, and what is left of the way. No link leads to the directory itself, so that
/// `..` is what is written above it.
fn followed(directory: &str, target: &str, left: &str) -> String {
    let from = if target.starts_with('/') { "" } else { directory };
    let mut parts: Vec<&str> = Vec::new();
    for part in from.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.push(left);
    format!("/{}", parts.join("/"))
}

fn refused(root: &Path, at: &str, why: &str) -> Error {
    Error::failed(format!("{} {why}", shown(root, at).display())).help(
        "choose a path whose directories only root and the owner can change, or leave the secret at its usual place",
    )
}

fn cannot(what: &str, root: &Path, at: &str, error: Errno) -> Error {
    Error::io(format!("cannot {what} {}", shown(root, at).display()), error)
}

fn shown(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn link(path: &str) -> Link {
        Link {
            path: path.to_owned(),
            target: "/run/sealift/a".to_owned(),
            owner: rustix::process::geteuid().as_raw(),
            home: None,
        }
    }

    #[test]
    fn a_link_is_made_turned_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut link = link("/etc/a/token");
        assert_eq!(place(root.path(), &link).unwrap().before, Before::Nothing);
        link.target = "/run/sealift/b".to_owned();
        assert_eq!(place(root.path(), &link).unwrap().before, Before::Ours("/run/sealift/a".to_owned()));
        assert_eq!(std::fs::read_link(root.path().join("etc/a/token")).unwrap(), Path::new("/run/sealift/b"));
        remove(root.path(), &link, &BTreeSet::from(["/etc/a/token".to_owned()])).unwrap();
        assert!(root.path().join("etc/a/token").symlink_metadata().is_ok());
        remove(root.path(), &link, &BTreeSet::new()).unwrap();
        assert!(root.path().join("etc/a/token").symlink_metadata().is_err());
    }

    #[test]
    fn links_of_root_lead_on() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path();
        std::fs::create_dir_all(top.join("persist/home/jay")).unwrap();
        std::fs::create_dir_all(top.join("var/up")).unwrap();
        for (to, from) in [
            ("/run", "var/run"),
            ("../persist//./home", "home"),
            ("../../../../run/../persist", "var/up/out"),
            ("b", "a"),
            ("a", "b"),
            ("/nix/store", "var/store"),
        ] {
            symlink(to, top.join(from)).unwrap();
        }
        for (path, at) in [
            ("/var/run/app/token", "/run/app/token"),
            ("/home/jay/.netrc", "/persist/home/jay/.netrc"),
            ("/var/up/out/token", "/persist/token"),
        ] {
            assert_eq!(check(top, &link(path)).unwrap(), at);
            assert_eq!(place(top, &link(path)).unwrap().at, at);
            assert!(top.join(at.trim_start_matches('/')).is_symlink(), "{path}");
        }
        // Where nothing may be put, no path leads.
        for path in ["/a/token", "/var/store/token", "/var/run/sealift.d/1/x", "/var/run/sealift/x"] {
            assert!(check(top, &link(path)).is_err() && place(top, &link(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn where_others_could_interfere_nothing_is_made() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path();
        for folder in ["open", "group", "tree/.git", "tree/below", "usual"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        std::fs::set_permissions(top.join("open"), PermissionsExt::from_mode(0o1777)).unwrap();
        std::fs::set_permissions(top.join("group"), PermissionsExt::from_mode(0o775)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(top.join("group"), Some(0), Some(100)).unwrap();
        }
        symlink("/etc/passwd", top.join("usual/foreign")).unwrap();
        std::fs::create_dir(top.join("usual/folder")).unwrap();
        for path in [
            "/open/token",
            "/open/below/token",
            "/group/token",
            "/tree/token",
            "/tree/below/token",
            "/usual/foreign",
            "/usual/folder",
            "/run/sealift/x",
            "/run/sealift",
            "/run/sealift.d/1/a",
            "/run/sealift.lock",
            "/nix/store/x",
        ] {
            assert!(check(top, &link(path)).is_err(), "{path}");
            assert!(place(top, &link(path)).is_err(), "{path}");
            remove(top, &link(path), &BTreeSet::new()).unwrap();
        }
        assert!(top.join("usual/foreign").symlink_metadata().is_ok() && top.join("usual/folder").is_dir());
    }
}
