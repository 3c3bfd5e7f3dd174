//! Replacements on macOS for kernel features that only Linux has (`system.rs`), for the admin's half of the program.
//! Nothing here writes a value anywhere. What only hosts need returns an error.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags, RawMode, openat, readlinkat};
use rustix::io::{Errno, Result};
use rustix::process::{Pid, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// There is no O_PATH: an unreadable path counts as missing.
pub const PATH: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);
/// No call flushes all earlier writes: each file is synced separately.
pub const SYNCS_ALL: bool = false;
/// Children inherit our limit, so it is not raised.
pub const LIMITS_CHILDREN: bool = false;
/// The number of symlinks that Linux follows in one path.
const LINKS: usize = 40;
/// Opens a directory on the way.
const STEP: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How `openat2` resolves a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResolveFlags(u8);

impl ResolveFlags {
    /// The path must stay below the directory.
    pub const BENEATH: Self = Self(1);
    /// Follows no symlinks; nor does anything else without `IN_ROOT`.
    pub const NO_SYMLINKS: Self = Self(0);
    /// macOS has no magic links.
    pub const NO_MAGICLINKS: Self = Self(0);
    /// `/` and `..` at the top are the top itself, also in symlinks.
    pub const IN_ROOT: Self = Self(2);

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOr for ResolveFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// Opens a path below a directory, one component at a time: the kernel never gets a symlink to follow, nor a `..`.
pub fn openat2(
    top: impl AsFd,
    path: impl AsRef<OsStr>,
    flags: OFlags,
    mode: Mode,
    within: ResolveFlags,
) -> Result<OwnedFd> {
    let in_root = within == ResolveFlags::IN_ROOT;
    let path = path.as_ref().as_bytes();
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    if path.starts_with(b"/") && !in_root {
        return Err(Errno::XDEV);
    }
    let parts = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<VecDeque<_>>();
    let (mut way, mut left, mut links): (Vec<OwnedFd>, _, _) = (Vec::new(), parts(path), 0);
    while let Some(part) = left.pop_front() {
        let place: BorrowedFd<'_> = way.last().map_or(top.as_fd(), AsFd::as_fd);
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                if way.pop().is_none() && !in_root {
                    return Err(Errno::XDEV);
                }
                continue;
            }
            _ => {}
        }
        let name = OsStr::from_bytes(&part);
        let how = if left.is_empty() { flags | OFlags::NOFOLLOW } else { STEP };
        let error = match openat(place, name, how, mode) {
            Ok(fd) if left.is_empty() => return Ok(fd),
            Ok(fd) => {
                way.push(fd);
                continue;
            }
            Err(error) => error,
        };
        // Systems differ in the error for a symlink that is not followed, so test whether it can be read as one.
        let Ok(target) = readlinkat(place, name, Vec::new()) else { return Err(error) };
        links += 1;
        if !in_root || links > LINKS || (left.is_empty() && flags.contains(OFlags::NOFOLLOW)) {
            return Err(Errno::LOOP);
        }
        if target.as_bytes().starts_with(b"/") {
            way.clear();
        }
        let mut ahead = parts(target.as_bytes());
        ahead.append(&mut left);
        left = ahead;
    }
    openat(way.last().map_or(top.as_fd(), AsFd::as_fd), ".", flags, mode)
}

/// Flushes a file to the disk itself, not only into the disk's cache, if the file system supports it.
pub fn fsync(fd: impl AsFd) -> Result<()> {
    #[cfg(target_os = "macos")]
    if rustix::fs::fcntl_fullfsync(&fd).is_ok() {
        return Ok(());
    }
    rustix::fs::fsync(fd)
}

/// All other files were synced separately.
pub fn syncfs(fd: impl AsFd) -> Result<()> {
    fsync(fd)
}

/// Becomes readable once a child has exited: a thread waits for that without reaping the child.
pub struct ChildEnd {
    child: Pid,
    end: OwnedFd,
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

pub fn end_of(child: Pid) -> Result<ChildEnd> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (end, mut ended) = std::io::pipe().map_err(errno)?;
    let wait = move || {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(child), how), Err(Errno::INTR)) {}
        // The reader may be gone. Closing the pipe is not enough: another child may have inherited the writing end.
        let _nobody = ended.write_all(b".");
    };
    std::thread::Builder::new().spawn(wait).map_err(errno)?;
    Ok(ChildEnd { child, end: end.into() })
}

/// The pid is still the child's: it was not reaped yet.
pub fn kill(end: &ChildEnd) -> Result<()> {
    kill_process(end.child, Signal::KILL)
}

/// A copy of an open descriptor of this process: opening this path duplicates it on macOS.
pub fn descriptor(number: i32) -> Result<OwnedFd> {
    openat(CWD, format!("/dev/fd/{number}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The path of an open file.
#[cfg(target_os = "macos")]
pub fn path_of(fd: &OwnedFd) -> Option<std::path::PathBuf> {
    let path = rustix::fs::getpath(fd).ok()?;
    Some(std::path::PathBuf::from(OsStr::from_bytes(path.as_bytes())))
}

pub fn mode(bits: u32) -> Mode {
    // Higher bits are not permissions.
    Mode::from_raw_mode(RawMode::try_from(bits & 0o7777).unwrap_or_default())
}

/// Fills a buffer with random bytes, through the library that age and SSH keys use.
pub fn random(buffer: &mut [u8]) -> Result<usize> {
    use ssh_key::rand_core::{OsRng, RngCore};
    OsRng.try_fill_bytes(buffer).map(|()| buffer.len()).map_err(|_| Errno::IO)
}

pub fn limit_files(_child: Pid, _limit: Rlimit) -> Result<Rlimit> {
    Err(Errno::NOSYS)
}

/// macOS already requires more than the same user id.
pub fn close_memory() -> Result<()> {
    Err(Errno::NOSYS)
}

pub fn memory(_name: &str) -> Result<OwnedFd> {
    Err(Errno::NOSYS)
}

pub fn give_back(_file: &File, _from: u64, _length: u64) -> Result<()> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::adapters::system;

    #[test]
    fn a_way_ends_where_the_kernels_ends() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        for file in ["a/b/file", "file", "../outside"] {
            std::fs::write(top.join(file), file).unwrap();
        }
        for (target, link) in [
            ("/a/b", "absolute"),
            ("a/b", "relative"),
            ("../../../outside", "a/out"),
            ("../outside", "out"),
            ("../file", "a/up"),
            ("circle", "circle"),
            ("absolute/file", "chain"),
            ("file/", "slash"),
            ("nowhere", "broken"),
            (place.path().join("outside").to_str().unwrap(), "far"),
        ] {
            symlink(target, top.join(link)).unwrap();
        }
        for step in 0..45 {
            let target = if step == 0 { "file".to_owned() } else { format!("l{}", step - 1) };
            symlink(target, top.join(format!("l{step}"))).unwrap();
        }
        let fd = rustix::fs::open(&top, STEP, Mode::empty()).unwrap();
        // The device and inode of what was opened, or the error.
        let opened = |outcome: Result<OwnedFd>| {
            outcome.map(|fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).unwrap())
        };
        let words = "a a/b a/b/file a/b/file/ a/b/file/x a/ a//b/./file . / /file /a/b .. ../outside /../file a/../file a/.. \
            a/b/../../.. a/b/../../../outside file absolute absolute/ absolute/file absolute/.. absolute/../up relative \
            relative/file relative/../up a/out out a/up circle circle/x chain slash broken broken/x far nothing nothing/x \
            l0 l38 l39 l40 l41 l44 ./file ./.. a/./..";
        for path in words.split_whitespace().chain([""]) {
            for more in [OFlags::empty(), OFlags::NOFOLLOW, OFlags::DIRECTORY] {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | more;
                // For a path with `..`, the kernel returns EAGAIN if anything was renamed meanwhile.
                let ask = |within| system::openat2(&fd, path, flags, Mode::empty(), within);
                let answers = |within| std::iter::repeat_with(move || ask(within));
                let kernels =
                    |within| opened(answers(within).find(|answer| !matches!(answer, Err(Errno::AGAIN))).unwrap());
                let ours = |within| opened(openat2(&fd, path, flags, Mode::empty(), within));
                let within = system::ResolveFlags::BENEATH | system::ResolveFlags::NO_SYMLINKS;
                let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                assert_eq!(ours(beneath), kernels(within), "beneath: {path} {more:?}");
                let in_root = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
                assert_eq!(ours(in_root), kernels(system::ResolveFlags::IN_ROOT), "in a root: {path} {more:?}");
            }
        }
    }

    #[test]
    fn a_childs_end_is_seen_and_left_to_who_waits() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let end = end_of(Pid::from_child(&child)).unwrap();
        let mut watched = [PollFd::new(&end, PollFlags::IN)];
        assert_eq!(poll(&mut watched, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 })), Ok(0));
        kill(&end).unwrap();
        assert_eq!(poll(&mut watched, None), Ok(1));
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_mode_has_permissions_only() {
        assert_eq!((mode(0o100_644), mode(0o600)), (Mode::from_raw_mode(0o644), Mode::from_raw_mode(0o600)));
    }

    #[test]
    fn random_bytes_are_random() {
        let (mut one, mut other) = ([0; 16], [0; 16]);
        assert_eq!((random(&mut one), random(&mut other)), (Ok(16), Ok(16)));
        assert_ne!(one, other);
    }
}
