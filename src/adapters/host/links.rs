//! Symlinks to delivered secrets whose `path` is not the default. They are created only where nobody else can
//! interfere: the walk checks each directory that it has opened, so nothing can be swapped between check and use. It
//! follows only symlinks that root created where only root can create any, such as `/var/run`, or `/home` when it is
//! kept elsewhere.

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

/// How many symlinks a path may contain, as in the kernel.
const MOST_LINKS: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The path inside the system's root: absolute, without `..`.
    pub path: String,
    /// The delivered file that it points to.
    pub target: String,
    /// The uid of the secret's owner, who may also own directories on the way.
    pub owner: u32,
    /// The owner's home, which may have to be created.
    pub home: Option<Home>,
}

/// What was at the path before a link was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// One of our links, with its target.
    Ours(String),
}

/// A link that was created.
pub struct Placed {
    /// Its path after resolving symlinks.
    pub at: String,
    pub before: Before,
}

/// Why a link is not created.
#[derive(Clone, Debug)]
pub struct Obstacle {
    pub error: Error,
    /// Whether the cause is in a place that the secret's owner controls. What owners do there must not stop other
    /// secrets from being installed.
    pub of_owner: bool,
}

impl Obstacle {
    fn about(self, root: &Path, link: &Link) -> Self {
        Self { error: self.error.about(format!("{} was not created", shown(root, &link.path).display())), ..self }
    }
}

/// Checks that only root or we could have put what is at a path there: no directory on the way belongs to anyone else
/// or is writable by anyone else.
pub fn only_root(root: &Path, path: &str) -> Result<()> {
    let link = Link { path: path.to_owned(), target: String::new(), owner: 0, home: None };
    Way::walk(root, &link, false).map(drop).map_err(|obstacle| obstacle.error)
}

/// Where a link would be after resolving symlinks, if it could be created; changes nothing.
pub fn check(root: &Path, link: &Link) -> Result<String, Obstacle> {
    let way = Way::walk(root, link, false).map_err(|obstacle| obstacle.about(root, link))?;
    if way.parent.is_some() {
        way.standing(root)?;
    }
    Ok(way.at)
}

/// Atomically creates a link or changes its target. Returns what was there.
///
/// Fails like `check`, and if writing fails.
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

/// Removes a link if it is still ours, unless its resolved path is in `kept`.
pub fn remove(root: &Path, link: &Link, kept: &BTreeSet<String>) -> Result<()> {
    let Ok(way) = Way::walk(root, link, false) else { return Ok(()) };
    let Some(parent) = way.parent.as_ref().filter(|_| !kept.contains(&way.at)) else { return Ok(()) };
    if let Ok(Before::Ours(_)) = way.standing(root) {
        unlinkat(parent, way.name(), AtFlags::empty())
            .map_err(|error| Error::io(format!("cannot remove the link {}", shown(root, &way.at).display()), error))?;
    }
    Ok(())
}

/// The resolved way to a link.
struct Way {
    /// The link's directory; `None` if it or one above it is missing.
    parent: Option<OwnedFd>,
    /// The link's path after resolving symlinks.
    at: String,
    /// Whether it passes through directories that the secret's owner controls.
    of_owner: bool,
}

/// The result of one walk.
enum Step {
    /// The end, or a missing directory.
    There(Way),
    /// A symlink on the way; this is the path with the symlink resolved.
    Led(String),
}

impl Way {
    /// Walks from the root, one component at a time, and creates missing directories if `make`. They get the owner,
    /// group and mode of their parent, but are writable only by the owner. A missing home is its owner's alone.
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
            // The top itself is not checked: git does not look beyond a machine's own root.
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
                // FUSE file systems refuse root: this is the owner's, unless the owner is root.
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

    /// What is at the link's path now.
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

/// The target of a symlink of root's; `None` for anything else.
fn root_link(parent: &OwnedFd, name: &str) -> Option<String> {
    let fd = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    let ours = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && is_roots(&stat);
    ours.then(|| readlinkat(&fd, "", Vec::new()).ok()?.into_string().ok()).flatten()
}

/// The path that a symlink in a directory points to, followed by the rest of the path. The directory itself is already
/// resolved, so `..` can be resolved textually.
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
        // Loops and forbidden targets are refused.
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
