//! A place for a value while it is edited: in memory only, checked by file system type, never on a disk.
//!
//! Preferred is a ramfs in the mount namespace of a helper process, where only the editor sees it: it vanishes with the
//! editor, however that ends, and is never swapped. If the kernel does not allow this for ordinary users, and for
//! editors that pass the file to another program, it is a private directory on a tmpfs; that is wiped at the end, and
//! the next run wipes what a killed one left.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, FsWord, Mode, OFlags, flock, mkdirat, openat, statat, unlinkat,
};

use crate::adapters::editor::{Editor, Surroundings};
use crate::adapters::fs::files::{self, DIRECTORY};
use crate::adapters::fs::owner::is_our_directory;
use crate::adapters::process::{self, Ended, Invocation};
use crate::adapters::terminal::Terminal;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// The name prefix of our directories.
const PREFIX: &str = "sealift-edit-";
/// The first line of the helper's answer, after it has mounted its file system.
const GREETING: &[u8] = b"sealift-edit 1\n";
/// `f_type` of the two in-memory file systems (linux/magic.h).
const TMPFS: FsWord = 0x0102_1994;
const RAMFS: FsWord = 0x8584_58f6;
/// An editor that exits sooner has only passed the file to another program.
const QUICK: Duration = Duration::from_millis(500);

pub struct Edited {
    /// The file's content; `None` if it is gone.
    pub value: Option<Plaintext>,
    pub ended: Ended,
    did: Did,
}

/// What the editor did with the file, as far as can be detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    /// The file was read or written.
    Touched,
    /// The file was not even read.
    Untouched,
    /// Child processes of the editor are still running.
    Running,
}

impl Edited {
    /// Whether the editor succeeded and left the value unchanged.
    fn same(&self, as_before: &Plaintext) -> bool {
        self.ended.success() && self.value.as_ref().is_some_and(|value| value.same_as(as_before))
    }
}

/// Lets the user edit a value under this file name. An editor that only passes the file to a running program is
/// recognized by exiting with the file unchanged. The file then stays where that program sees it until `saved`, which
/// asks the user, returns.
///
/// Fails if there is no place in memory, the editor cannot be started, or the result exceeds the limit; and with the
/// error of `saved`.
pub fn edit(
    value: &Plaintext,
    name: &str,
    editor: &Editor,
    around: &Surroundings,
    limit: usize,
    saved: impl FnOnce() -> Result<()>,
) -> Result<Edited> {
    around.places.iter().for_each(|place| sweep(place));
    if let (Some(program), false) = (&around.program, editor.is_remote())
        && let Some(edited) = in_namespace(value, name, editor, around, program, limit)?
    {
        // Only the editor and its children could see the file.
        if edited.did == Did::Touched || !edited.same(value) {
            return Ok(edited);
        }
    }
    let place = around.places.iter().find(|place| in_memory(place)).ok_or_else(|| {
        Error::failed("there is no place in memory to edit in, and a value is never written to a disk")
            .help("XDG_RUNTIME_DIR and /dev/shm are on no tmpfs here; pipe the value instead: `sealift show NAME | … | sealift rotate NAME --stdin`")
    })?;
    let directory = Private::make(place, 0o700)?;
    let file = directory.path.join(name);
    let started = Instant::now();
    let edited = edit_file(value, &file, editor, around.locale.as_ref(), limit)?;
    // Here the program that got the file may have read it.
    if edited.same(value) && (edited.did != Did::Touched || started.elapsed() < QUICK) {
        saved()?;
        return Ok(Edited { value: left(&file, limit)?, ..edited });
    }
    Ok(edited)
}

/// Writes the value to a file and runs the editor on it.
fn edit_file(
    value: &Plaintext,
    file: &Path,
    editor: &Editor,
    locale: Option<&OsString>,
    limit: usize,
) -> Result<Edited> {
    value.expose(|bytes| files::create(file, bytes, 0o600))?;
    let made = marked(file)?;
    // Orphans of the editor become children of this process, so that they are noticed.
    let _unsupported = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let terminal = Terminal::open().map(|terminal| terminal.streams()).transpose()?;
    let ended = editor.call(file).locale(locale).on_terminal(terminal)?;
    let did = match made {
        _ if process::leaves_children() => Did::Running,
        Some(made) if seen(file) == Some(made) => Did::Untouched,
        _ => Did::Touched,
    };
    Ok(Edited { value: left(file, limit)?, ended, did })
}

/// Inode, access time and modification time of a file.
type Seen = (u64, i64, (i64, i64));

/// Sets the access time to zero, so that reading the file is detected; `None` if the file system does not record it.
fn marked(file: &Path) -> Result<Option<Seen>> {
    use rustix::fs::{StatVfsMountFlags, Timespec, Timestamps, UTIME_OMIT, statvfs, utimensat};
    let failed = |error| Error::io(format!("cannot look at {}", file.display()), error);
    let last_access = Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = Timestamps { last_access, last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT } };
    utimensat(CWD, file, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    let keeps = !statvfs(file).map_err(failed)?.f_flag.contains(StatVfsMountFlags::NOATIME);
    Ok(seen(file).filter(|_| keeps))
}

fn seen(file: &Path) -> Option<Seen> {
    let there = file.symlink_metadata().ok()?;
    Some((there.ino(), there.atime(), (there.mtime(), there.mtime_nsec())))
}

/// Edits through a helper in its own namespace; `None` if the kernel does not allow that.
fn in_namespace(
    value: &Plaintext,
    name: &str,
    editor: &Editor,
    around: &Surroundings,
    program: &Path,
    limit: usize,
) -> Result<Option<Edited>> {
    // If a program outside the namespace uses the path, its data must not land on a disk: the directory is not
    // writable.
    let Some(point) = around.places.iter().find_map(|place| Private::make(place, 0o500).ok()) else { return Ok(None) };
    let helper = |limit: usize| {
        Invocation::new("unshare")
            .args(["--user", "--map-current-user", "--keep-caps", "--mount", "--propagation", "private", "--"])
            .arg(program)
            .args(["edit-helper", "--limit", &limit.to_string()])
            .arg(&point.path)
            .arg(name)
            .locale(around.locale.as_ref())
    };
    // Without an editor it only tests the mount; error messages are not shown.
    if !helper(0).run().is_ok_and(|output| output.ended.success()) {
        return Ok(None);
    }
    let (answer, _) = helper(limit).arg("--").args(editor.words()).exchange(value, limit + 4096)?;
    answer.expose(|bytes| {
        let killed = || Error::failed("the editor's helper was killed; nothing changed");
        let rest = bytes.strip_prefix(GREETING).ok_or_else(killed)?;
        let end = rest.iter().position(|b| *b == b'\n').ok_or_else(killed)?;
        let (line, content) = (String::from_utf8_lossy(&rest[..end]), &rest[end + 1..]);
        let mut words = line.splitn(4, ' ');
        let (how, number) = (words.next(), words.next().and_then(|word| word.parse().ok()).unwrap_or(0));
        let ended = match how {
            Some("code") => Ended::Code(number),
            Some("signal") => Ended::Signal(number),
            _ => {
                let what = line.strip_prefix("error ").unwrap_or("the editor's helper failed");
                return Err(Error::failed(what.to_owned()));
            }
        };
        let value = (words.next() == Some("there")).then(|| Plaintext::concat(&[content]));
        let did = match words.next() {
            Some("untouched") => Did::Untouched,
            Some("running") => Did::Running,
            _ => Did::Touched,
        };
        Ok(Some(Edited { value, ended, did }))
    })
}

/// The helper in its namespace: mounts a ramfs, runs the editor on the value from standard input, and prints how it
/// ended and what it left. Without an editor it only tests the mount.
///
/// Fails if it cannot mount (nothing was read then), or cannot write the answer.
pub fn help(point: &Path, name: &str, editor: Option<&Editor>, locale: Option<&OsString>, limit: usize) -> Result<()> {
    use rustix::mount::{MountFlags, mount};
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("ramfs", point, "ramfs", flags, c"mode=0700").map_err(|error| Error::io("cannot mount a ramfs", error))?;
    if file_system(point) != Some(RAMFS) {
        return Err(Error::failed("what was mounted is not a ramfs"));
    }
    let Some(editor) = editor else { return Ok(()) };
    // The mount capability is no longer needed. As root it cannot be dropped: the kernel restores it on exec.
    let _root = rustix::thread::clear_ambient_capability_set();
    let mut answer = File::from(duplicate(rustix::stdio::stdout())?);
    let printed =
        |outcome: std::io::Result<()>| outcome.map_err(|error| Error::io("nobody reads the helper's answer", error));
    printed(answer.write_all(GREETING))?;
    let input = File::from(duplicate(rustix::stdio::stdin())?);
    let value =
        Plaintext::read(input, 64 << 10, usize::MAX >> 1).map_err(|error| Error::io("cannot read the value", error))?;
    match edit_file(&value, &point.join(name), editor, locale, limit) {
        Ok(Edited { value, ended, did }) => {
            let how = match ended {
                Ended::Code(code) => format!("code {code}"),
                Ended::Signal(signal) => format!("signal {signal}"),
            };
            let did = match did {
                Did::Running => "running",
                Did::Untouched => "untouched",
                Did::Touched => "touched",
            };
            printed(writeln!(answer, "{how} {} {did}", if value.is_some() { "there" } else { "gone" }))?;
            value.map_or(Ok(()), |value| printed(value.expose(|bytes| answer.write_all(bytes))))
        }
        Err(error) => printed(writeln!(answer, "error {}", error.message().replace('\n', " "))),
    }
}

fn duplicate(of: rustix::fd::BorrowedFd<'_>) -> Result<OwnedFd> {
    of.try_clone_to_owned().map_err(|error| Error::io("a standard stream is closed", error))
}

/// Reads what an editor left under the file's name, possibly as another file.
fn left(file: &Path, limit: usize) -> Result<Option<Plaintext>> {
    match file.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => files::read_plaintext(file, limit).map(Some),
    }
}

/// A private directory, wiped on drop. It is locked while we live, so that later runs can tell which directories are
/// abandoned.
struct Private {
    path: PathBuf,
    lock: OwnedFd,
}

impl Private {
    fn make(place: &Path, mode: u32) -> Result<Self> {
        let mut left = 5;
        loop {
            left -= 1;
            let path = place.join(format!("{PREFIX}{}", files::token()?));
            let failed = |error| Error::io(format!("cannot make {}", path.display()), error);
            mkdirat(CWD, &path, Mode::from_raw_mode(mode)).map_err(failed)?;
            // Between mkdir and lock, another run may take it for abandoned and wipe it; then try again.
            match open_directory(&path).and_then(|fd| flock(&fd, FlockOperation::NonBlockingLockExclusive).map(|()| fd))
            {
                Ok(lock) if path.exists() => return Ok(Self { path, lock }),
                Err(error) if left == 0 => return Err(failed(error)),
                _ if left == 0 => return Err(failed(rustix::io::Errno::AGAIN)),
                _ => wipe(&path),
            }
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        wipe(&self.path);
        // Locked until here, so that no other run takes the directory for abandoned.
        let _last = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Wipes the directories that killed runs of this user left.
fn sweep(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        if is_our_directory(&path)
            && open_directory(&path).is_ok_and(|fd| flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok())
        {
            wipe(&path);
        }
    }
}

/// Overwrites and removes a directory and everything below it. What cannot be removed stays in memory until the machine
/// is off.
fn wipe(path: &Path) {
    let Ok(fd) = open_directory(path) else { return };
    for entry in Dir::read_from(&fd).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind == Ok(FileType::Directory) {
            wipe(&path.join(name.to_string_lossy().as_ref()));
            continue;
        }
        if kind == Ok(FileType::RegularFile)
            && let Ok(file) = openat(&fd, name, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        {
            let mut file = File::from(file);
            let mut length = file.metadata().map_or(0, |data| data.len());
            while length > 0 {
                let step = length.min(4096);
                if file.write_all(&[0; 4096][..usize::try_from(step).unwrap_or(4096)]).is_err() {
                    break;
                }
                length -= step;
            }
        }
        let _stays = unlinkat(&fd, name, AtFlags::empty());
    }
    let _stays = unlinkat(CWD, path, AtFlags::REMOVEDIR);
}

fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, DIRECTORY, Mode::empty())
}

fn in_memory(path: &Path) -> bool {
    matches!(file_system(path), Some(TMPFS | RAMFS))
}

fn file_system(path: &Path) -> Option<FsWord> {
    rustix::fs::statfs(path).ok().map(|stat| stat.f_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_runs_directory_is_wiped_and_a_living_ones_is_not() {
        let place = tempfile::tempdir().unwrap();
        let living = Private::make(place.path(), 0o700).unwrap();
        let dead = place.path().join(format!("{PREFIX}dead"));
        std::fs::create_dir_all(dead.join("below")).unwrap();
        files::create(&dead.join("below/value"), b"x", 0o600).unwrap();
        std::fs::create_dir(place.path().join("other")).unwrap();
        sweep(place.path());
        assert!(living.path.exists() && !dead.exists() && place.path().join("other").exists());
        drop(living);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_disk_is_no_memory() {
        assert!(!in_memory(Path::new("/proc")));
        assert!(
            in_memory(Path::new("/dev/shm")) || file_system(Path::new("/dev/shm")).is_none_or(|kind| kind != TMPFS)
        );
    }
}
