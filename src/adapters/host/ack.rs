//! How a host waits for the acknowledgement of a run: a FIFO that only the user who requested the run may write to.
//! Acknowledging needs no program that runs as root.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fstat, mkdirat, mknodat, openat, unlinkat,
};
use rustix::io::Errno;

use crate::adapters::fs::files::{self, DIRECTORY};
use crate::adapters::fs::owner::{Others, Owner, is_of};
use crate::adapters::fs::root::Root;
use crate::adapters::host::run_dir;
use crate::error::{Error, Result};

/// The directory of the FIFOs, below a machine's root. Others may enter but not list it.
const FOLDER: &str = "/run/sealift-ack";

/// The FIFO of a run, removed on drop.
pub struct Fifo {
    folder: OwnedFd,
    name: String,
    fifo: OwnedFd,
    shown: PathBuf,
}

impl Fifo {
    /// Creates the FIFO of a run, writable by this user.
    pub fn open(root: &Root, run: &str, user: u32) -> Result<Self> {
        let path = root.writable(FOLDER)?;
        let shown = path.join(run);
        let failed = |error: Errno| Error::io(format!("cannot make {}", shown.display()), error);
        match mkdirat(CWD, &path, Mode::from_raw_mode(0o711)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let folder = openat(CWD, &path, DIRECTORY, Mode::empty()).map_err(failed)?;
        // Anyone who could write to the directory could replace the FIFO.
        if !is_of(&fstat(&folder).map_err(failed)?, Owner::Us, Others::Anybody) {
            return Err(Error::failed(format!("{} belongs to another user", path.display())).help("remove it"));
        }
        fchmod(&folder, Mode::from_raw_mode(0o711)).map_err(failed)?;
        // Left by a killed run.
        let _none = unlinkat(&folder, run, AtFlags::empty());
        mknodat(&folder, run, FileType::Fifo, Mode::from_raw_mode(0o600), 0).map_err(failed)?;
        let owner = Some(Uid::from_raw(user));
        chownat(&folder, run, owner, None::<Gid>, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        // Also open for writing: a writer that opens and closes it without writing must not end the wait.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fifo = openat(&folder, run, flags, Mode::empty()).map_err(failed)?;
        Ok(Self { folder, name: run.to_owned(), fifo, shown })
    }

    /// Waits until somebody writes, at most `limit`. Returns whether somebody did.
    pub fn wait(&self, limit: Duration) -> Result<bool> {
        let failed = |error: Errno| Error::io(format!("cannot wait at {}", self.shown.display()), error);
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut [PollFd::new(&self.fifo, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // A leftover is harmless.
        let _left = unlinkat(&self.folder, &self.name, AtFlags::empty());
    }
}

/// Removes the FIFO of a killed run.
pub fn forget(root: &Root, run: &str) -> Result<()> {
    files::remove(&root.outside(&format!("{FOLDER}/{run}")))
}

pub fn acknowledge(run: &str) -> Result<()> {
    let path = Path::new(FOLDER).join(run);
    let nobody = |error: Errno| {
        Error::failed(format!("nobody waits for run {run} here, or not for you"))
            .because(std::io::Error::from(error))
            .help(format!("if it ran here, its log says how it ended: {}", run_dir::log_of(run)))
    };
    // Must not block without a reader, nor follow a symlink.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fifo = openat(CWD, &path, flags, Mode::empty()).map_err(nobody)?;
    rustix::io::write(&fifo, b"1").map(drop).map_err(nobody)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn only_the_user_who_asked_can_acknowledge_and_nothing_is_left() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("run")).unwrap();
        let root = Root::open(place.path()).unwrap();
        let me = rustix::process::geteuid().as_raw();
        let fifo = Fifo::open(&root, "one", me).unwrap();
        let path = place.path().join("run/sealift-ack/one");
        let is = path.metadata().unwrap();
        assert!(is.file_type().is_fifo() && is.mode() & 0o777 == 0o600 && is.uid() == me);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o711);
        assert!(!fifo.wait(Duration::from_millis(1)).unwrap());
        drop(std::fs::OpenOptions::new().write(true).open(&path).unwrap());
        assert!(!fifo.wait(Duration::from_millis(1)).unwrap(), "a visit without a word is none");
        std::fs::write(&path, "1").unwrap();
        assert!(fifo.wait(Duration::from_secs(60)).unwrap());
        drop(fifo);
        assert!(!path.exists());
        assert!(acknowledge("no-such-run").unwrap_err().message().contains("nobody waits"));
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("run/elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", place.path().join("run/sealift-ack")).unwrap();
        let root = Root::open(place.path()).unwrap();
        assert!(Fifo::open(&root, "one", 0).is_err());
        assert!(!place.path().join("run/elsewhere/one").exists());
    }
}
