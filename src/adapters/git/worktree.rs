//! The work tree and index of a git repository, as git lists them: tracked files, untracked files that are not ignored,
//! and where the index differs from the work tree. Files are opened without following symlinks or blocking.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode, OFlags, fstat, readlinkat};

use crate::adapters::fs::files;
use crate::adapters::git::Git;
use crate::adapters::git::objects::records;
use crate::adapters::system::{ResolveFlags, openat2};
use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A path whose content is in the work tree.
    Tree(Vec<u8>),
    /// A path whose content in the index differs from the work tree, and its object.
    Index(Vec<u8>, String),
    /// A submodule, or another repository inside this one.
    Foreign(Vec<u8>),
    /// A directory that git could not read, in git's words.
    Closed(String),
}

/// Lists the work tree and the index.
pub fn list(git: &Git, mut told: impl FnMut(Listed) -> std::io::Result<()>) -> Result<()> {
    let options = ["-z", "-t", "--stage", "--cached", "--others", "--modified", "--deleted", "--exclude-standard"];
    let call = git.call().arg("ls-files").args(options);
    let mut last: Option<Listed> = None;
    let output = records(&call, drop, 0, |record| {
        let Some(listed) = listed(record) else { return Ok(()) };
        // An entry that is both deleted and modified is listed twice.
        if matches!(listed, Listed::Index(..)) {
            if last.as_ref() == Some(&listed) {
                return Ok(());
            }
            last = Some(listed.clone());
        }
        told(listed)
    })?;
    if !output.ended.success() {
        return Err(call.failure(&output));
    }
    // git skips what it cannot read, and exits with 0.
    let said = String::from_utf8_lossy(&output.stderr);
    let closed = said.lines().filter_map(|line| line.strip_prefix("warning: "));
    let mut closed = closed.filter(|line| line.starts_with("could not open directory"));
    closed
        .try_for_each(|line| told(Listed::Closed(line.to_owned())))
        .map_err(|error| Error::io("cannot read the output of git", error))
}

/// `TAG SP PATH` for untracked files, `TAG SP MODE SP OBJECT SP STAGE TAB PATH` for the rest.
fn listed(record: &[u8]) -> Option<Listed> {
    let (tag, rest) = (record.first()?, record.get(2..)?);
    if *tag == b'?' {
        return Some(match rest.strip_suffix(b"/") {
            Some(folder) => Listed::Foreign(folder.to_vec()),
            None => Listed::Tree(rest.to_vec()),
        });
    }
    let tab = rest.iter().position(|byte| *byte == b'\t')?;
    let (head, path) = (std::str::from_utf8(&rest[..tab]).ok()?, rest[tab + 1..].to_vec());
    let mut words = head.split(' ');
    let (mode, object, stage) = (words.next()?, words.next()?, words.next()?);
    match (tag, mode) {
        // Listed once as tracked, and again where it differs.
        (b'C' | b'R', "160000") => None,
        (_, "160000") => Some(Listed::Foreign(path)),
        (b'H', _) if stage == "0" => Some(Listed::Tree(path)),
        // Modified, deleted, not checked out, or one side of a merge.
        _ => Some(Listed::Index(path, object.to_owned())),
    }
}

pub enum Opened {
    /// A regular file, and its size.
    File(File, u64),
    /// A symlink: its target. It is not followed.
    Link(Vec<u8>),
    /// Nothing, or something that has vanished.
    Gone,
    /// Something that cannot be read as a file, with the reason.
    Other(String),
}

/// A directory in which files are opened.
pub struct Opener(OwnedFd);

impl Opener {
    pub fn new(directory: &std::path::Path) -> Result<Self> {
        files::directory(directory).map(Self)
    }

    /// Opens a path below the directory. No symlink on the way is followed.
    pub fn open(&self, path: &[u8]) -> Opened {
        let path = OsStr::from_bytes(path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = match openat2(&self.0, path, flags, Mode::empty(), within) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::MLINK) => {
                // A symlink, or a path through one: the latter is not the file that git lists.
                return match readlinkat(&self.0, path, Vec::new()) {
                    Ok(target) => Opened::Link(target.into_bytes()),
                    Err(_) => Opened::Gone,
                };
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Opened::Gone,
            Err(error) => return Opened::Other(std::io::Error::from(error).to_string()),
        };
        let Ok(stat) = fstat(&fd) else { return Opened::Gone };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Opened::File(File::from(fd), u64::try_from(stat.st_size).unwrap_or(0)),
            FileType::Directory => Opened::Gone,
            FileType::Fifo => Opened::Other("it is a FIFO".to_owned()),
            FileType::Socket => Opened::Other("it is a socket".to_owned()),
            _ => Opened::Other("it is a device".to_owned()),
        }
    }
}

/// Reports every path below a directory that is not a directory itself. No symlink is followed.
pub fn walk(directory: &std::path::Path, told: &mut impl FnMut(&[u8])) -> Result<()> {
    let mut places = vec![Vec::new()];
    while let Some(place) = places.pop() {
        let path = directory.join(OsStr::from_bytes(&place));
        let failed = |error| Error::io(format!("cannot list {}", path.display()), error);
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let below =
                if place.is_empty() { name.as_bytes().to_vec() } else { [&place[..], b"/", name.as_bytes()].concat() };
            if entry.file_type().map_err(failed)?.is_dir() {
                places.push(below);
            } else {
                told(&below);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_git_are_read() {
        let object = "ab".repeat(20);
        let tracked =
            |tag: &str, mode: &str, stage: u8| listed(format!("{tag} {mode} {object} {stage}\ta b\tc").as_bytes());
        let path = b"a b\tc".to_vec();
        assert_eq!(tracked("H", "100644", 0), Some(Listed::Tree(path.clone())));
        assert_eq!(tracked("H", "160000", 0), Some(Listed::Foreign(path.clone())));
        assert_eq!(tracked("C", "160000", 0), None);
        for (tag, stage) in [("C", 0), ("R", 0), ("S", 0), ("M", 2)] {
            assert_eq!(tracked(tag, "100644", stage), Some(Listed::Index(path.clone(), object.clone())));
        }
        assert_eq!(listed(b"? x/"), Some(Listed::Foreign(b"x".to_vec())));
        assert_eq!(listed(b"? \xff\n"), Some(Listed::Tree(b"\xff\n".to_vec())));
    }
}
