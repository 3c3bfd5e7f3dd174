//! Files: read with size limits, replaced atomically. Nothing here follows a symlink at the end of a path, blocks on a
//! FIFO, or leaves a partial file.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, openat, renameat, unlinkat};

use crate::adapters::fs::owner::{Others, Owner, is_of};
use crate::adapters::system::{self, ResolveFlags, fsync, openat2};
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// The name prefix of temporary files. A later run removes those of a killed one.
pub const TEMPORARY: &str = ".sealift-tmp-";
/// Below another system's root, absolute symlinks are resolved within that root.
pub const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// Opens a directory, but no symlink to one.
pub const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a regular file for reading, without following a symlink at its end and without blocking.
///
/// Fails if it is not a regular file of at most `limit` bytes.
pub fn open(path: &Path, limit: u64) -> Result<(File, u64)> {
    let shown = path.display();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => Error::failed(format!("{shown} is a symbolic link, and is not followed")),
        _ => Error::io(format!("cannot open {shown}"), error),
    })?;
    checked(fd, limit, &shown.to_string())
}

/// Opens a directory. Symlinks are followed: the path is the caller's own.
pub fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|error| Error::io(format!("cannot open {}", path.display()), error))
}

/// The nearest ancestor of `directory`, itself included, that contains `name`.
pub fn enclosing<'a>(directory: &'a Path, name: &str) -> Option<&'a Path> {
    directory.ancestors().find(|above| above.join(name).symlink_metadata().is_ok())
}

/// Reads a whole file below another system's root. `None` if it does not exist.
pub fn read_in_root(root: impl AsFd, path: &str, limit: u64, shown: &str) -> Result<Option<Vec<u8>>> {
    match openat2(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty(), IN_ROOT) {
        Ok(fd) => {
            let (file, size) = checked(fd, limit, shown)?;
            read_all(file, size, limit, shown).map(Some)
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::io(format!("cannot open {shown}"), error)),
    }
}

/// Checks that a file is regular and has at most `limit` bytes; returns it with its size.
pub fn checked(fd: OwnedFd, limit: u64, shown: &str) -> Result<(File, u64)> {
    let stat = fstat(&fd).map_err(|error| Error::io(format!("cannot look at {shown}"), error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::failed(format!("{shown} is not a regular file")));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > limit {
        return Err(Error::failed(format!("{shown} is {size} bytes; more than {limit} are not read")));
    }
    Ok((File::from(fd), size))
}

/// Reads a whole file.
///
/// Fails like `open`, and if reading fails or the file grows past the limit meanwhile.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, size) = open(path, limit)?;
    read_all(file, size, limit, &path.display().to_string())
}

/// Reads a kernel file (`/proc`), whose size is not known before it is read.
pub fn read_kernel(path: &str) -> Result<String> {
    let mut text = String::new();
    let read = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map(File::from);
    let read = read.map_err(std::io::Error::from).and_then(|file| file.take(1 << 20).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| Error::io(format!("cannot read {path}"), error))
}

/// Reads a whole file that root or the current user owns and nobody else can write to.
pub fn read_of_root(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, size) = open(path, limit)?;
    let stat = fstat(&file).map_err(|error| Error::io(format!("cannot look at {}", path.display()), error))?;
    if !is_of(&stat, Owner::RootOrUs, Others::Readers) {
        return Err(Error::failed(format!("{} may belong to somebody else, and is not trusted", path.display()))
            .help(format!("see whose it is (`ls -l {}`), and move it away", path.display())));
    }
    read_all(file, size, limit, &path.display().to_string())
}

fn read_all(file: File, size: u64, limit: u64, shown: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io(format!("cannot read {shown}"), error))?;
    if bytes.len() as u64 > limit {
        return Err(Error::failed(format!("{shown} grew past {limit} bytes while it was read")));
    }
    Ok(bytes)
}

/// Reads a whole file as plaintext, into a buffer that never moves.
pub fn read_plaintext(path: &Path, limit: usize) -> Result<Plaintext> {
    let (file, size) = open(path, limit as u64)?;
    let expected = usize::try_from(size).unwrap_or(limit);
    Plaintext::read(file, expected, limit).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
}

/// When the bytes must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Before this returns.
    Now,
    /// When the caller calls `sync`, for many files at once.
    Later,
}

/// Atomically replaces or creates a file: a temporary file next to it, then a rename. Missing directories are created.
pub fn replace(path: &Path, bytes: &[u8], mode: u32, durable: Durable) -> Result<()> {
    let (above, name) = split(path)?;
    let place = match directory(above) {
        Ok(place) => place,
        Err(_) => {
            std::fs::create_dir_all(above)
                .map_err(|error| Error::io(format!("cannot make {}", above.display()), error))?;
            directory(above)?
        }
    };
    replace_in(&place, name, path, bytes, mode, durable)
}

pub fn unwritten(path: &Path, error: rustix::io::Errno) -> Error {
    Error::io(format!("cannot write {}", path.display()), error)
}

/// Atomically replaces a file in an open directory.
pub fn replace_in(
    place: &OwnedFd,
    name: &std::ffi::OsStr,
    shown: &Path,
    bytes: &[u8],
    mode: u32,
    durable: Durable,
) -> Result<()> {
    let put = || {
        let temporary = write_temporary(place, bytes, mode, durable)?;
        renameat(place, &temporary, place, name).inspect_err(|_| {
            // Only the failed rename is reported.
            let _gone = unlinkat(place, &temporary, AtFlags::empty());
        })
    };
    put().map_err(|error| unwritten(shown, error))?;
    if durable == Durable::Now {
        fsync(place).map_err(|error| {
            Error::io(format!("{} is written, but that it is on the disk is not confirmed", shown.display()), error)
        })?;
    }
    Ok(())
}

/// Writes a temporary file in a directory and returns its name. On failure nothing is left behind.
pub fn write_temporary(place: &OwnedFd, bytes: &[u8], mode: u32, durable: Durable) -> rustix::io::Result<String> {
    let temporary = format!("{TEMPORARY}{}", token().map_err(|_| rustix::io::Errno::IO)?);
    let attempt = || -> rustix::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(place, &temporary, flags, Mode::from_raw_mode(0o600))?);
        file.write_all(bytes).map_err(|error| errno(&error))?;
        fchmod(&file, system::mode(mode))?;
        if durable == Durable::Now || !system::SYNCS_ALL { fsync(&file) } else { Ok(()) }
    };
    attempt().inspect_err(|_| {
        // It may not exist.
        let _gone = unlinkat(place, &temporary, AtFlags::empty());
    })?;
    Ok(temporary)
}

/// Renames a file within a file system, replacing the target.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    renameat(CWD, from, CWD, to)
        .map_err(|error| Error::io(format!("cannot rename {} to {}", from.display(), to.display()), error))
}

/// Creates a file that must not exist yet.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::from_raw_mode(0o600)).map_err(|error| match error {
        rustix::io::Errno::EXIST => {
            Error::failed(format!("{} is there already, and is not overwritten", path.display()))
        }
        _ => Error::io(format!("cannot make {}", path.display()), error),
    })?;
    let mut file = File::from(fd);
    let written =
        file.write_all(bytes).and_then(|()| Ok(fchmod(&file, system::mode(mode))?)).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _gone = remove(path);
        Error::io(format!("cannot write {}", path.display()), error)
    })
}

/// Creates a directory and its parents, writable only by the owner whatever the umask. Existing ones stay unchanged.
pub fn make_directory(path: &Path) -> Result<()> {
    make_directories(path, 0o755)
}

/// Creates a directory and its parents, accessible only by the owner. Existing ones stay unchanged.
pub fn make_private_directory(path: &Path) -> Result<()> {
    make_directories(path, 0o700)
}

fn make_directories(path: &Path, mode: u32) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|error| Error::io(format!("cannot make {}", path.display()), error))
}

/// Removes a file; it may already be gone.
pub fn remove(path: &Path) -> Result<()> {
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io(format!("cannot remove {}", path.display()), error)),
    }
}

/// Overwrites a file with zeros and removes it. On flash storage and copy-on-write file systems that is only best
/// effort, as the documentation says.
///
/// On failure it may be partly overwritten.
pub fn shred(path: &Path) -> Result<()> {
    let attempt = || -> std::io::Result<()> {
        let fd = openat(CWD, path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let mut file = File::from(fd);
        let mut left = file.metadata()?.len();
        while left > 0 {
            let step = left.min(8192);
            file.write_all(&[0; 8192][..usize::try_from(step).unwrap_or(8192)])?;
            left -= step;
        }
        file.sync_all()?;
        Ok(unlinkat(CWD, path, AtFlags::empty())?)
    };
    attempt().map_err(|error| Error::io(format!("{} could not be destroyed", path.display()), error))
}

/// Flushes the whole file system that holds `path` to disk.
pub fn sync(path: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let attempt = openat(CWD, path, flags, Mode::empty()).and_then(|fd| system::syncfs(&fd));
    attempt.map_err(|error| Error::io(format!("{}: that it is on the disk is not confirmed", path.display()), error))
}

/// Atomically points a symlink at a target.
pub fn swap_link(link: &Path, target: &str) -> Result<()> {
    let (directory, _) = split(link)?;
    let temporary = directory.join(format!("{TEMPORARY}{}", token()?));
    let attempt = rustix::fs::symlink(target, &temporary).and_then(|()| rustix::fs::rename(&temporary, link));
    attempt.map_err(|error| {
        let _gone = remove(&temporary);
        Error::io(format!("cannot point {} at {target}", link.display()), error)
    })
}

/// Atomically swaps two paths.
pub fn exchange(one: &Path, other: &Path) -> Result<()> {
    rustix::fs::renameat_with(CWD, one, CWD, other, rustix::fs::RenameFlags::EXCHANGE)
        .map_err(|error| Error::io(format!("{} and {} cannot change places", one.display(), other.display()), error))
}

pub fn token() -> Result<String> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

pub fn random(buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match system::random(&mut buffer[filled..]) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::io("the kernel gives no random bytes", error)),
        }
    }
    Ok(())
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => {
            Ok((if directory.as_os_str().is_empty() { Path::new(".") } else { directory }, name))
        }
        _ => Err(Error::failed(format!("{} is not a file's path", path.display()))),
    }
}

fn errno(error: &std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO)
}
