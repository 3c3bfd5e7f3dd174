//! The sockets of our connections: a private directory that is removed afterwards, and a thread that keeps connections
//! alive.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::adapters::fs::files;
use crate::adapters::fs::owner::{Others, Owner, is_directory, is_of};
use crate::adapters::ssh::mux;
use crate::adapters::ssh::options::Known;
use crate::error::{Error, Result};

/// The name prefix of our directories.
const PREFIX: &str = "sealift-ssh-";
/// A socket path has at most 107 bytes, of which ssh needs 17 for a temporary name, and we a few for ours.
const ROOM: usize = 80;
/// The interval of keep-alives, well below a connection's idle time.
const KNOCKING: Duration = Duration::from_secs(15);

/// What all connections share.
pub struct Sockets {
    folder: PathBuf,
    /// Locked while we live: other processes remove the directories of dead ones.
    _alive: OwnedFd,
    pub known: Known,
    count: AtomicU32,
    /// One question to the user at a time.
    pub asking: Mutex<()>,
    /// The sockets of connections to keep alive.
    open: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// Stops the keep-alives when dropped.
    _knocks: Sender<()>,
}

impl Sockets {
    pub fn new(runtime: Option<&Path>) -> Result<Self> {
        let known = Known::ask()?;
        let plain = |path: &&Path| {
            let text = path.to_str().unwrap_or(" ");
            path.is_absolute()
                && is_ours(path)
                && text.len() + PREFIX.len() + 17 <= ROOM
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
        };
        let above = runtime.filter(plain).unwrap_or(Path::new("/tmp"));
        sweep(above);
        let folder = above.join(format!("{PREFIX}{}", files::token()?));
        make_folder(&folder)?;
        let alive = files::directory(&folder)?;
        flock(&alive, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::io(format!("cannot lock {}", folder.display()), error))?;
        let open = Arc::default();
        let keeping = keep_alive(Arc::clone(&open));
        let (count, asking) = (AtomicU32::new(0), Mutex::default());
        Ok(Self { folder, _alive: alive, known, count, asking, open, _knocks: keeping })
    }

    /// A new path in the directory.
    pub fn path(&self) -> PathBuf {
        self.folder.join(self.count.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Keeps the connection at this socket alive from now on.
    pub fn stays(&self, socket: &Path) {
        locked(&self.open).insert(socket.to_owned());
    }

    pub fn end(&self, socket: &Path) {
        locked(&self.open).remove(socket);
        mux::end(socket);
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // Leftovers contain no secrets, and the next run tries again.
        let _left = std::fs::remove_dir_all(&self.folder);
    }
}

/// Contacts these sockets regularly until the result is dropped. Nothing goes over the network.
fn keep_alive(open: Arc<Mutex<BTreeSet<PathBuf>>>) -> Sender<()> {
    let (ours, theirs) = channel();
    std::thread::spawn(move || {
        while theirs.recv_timeout(KNOCKING) == Err(RecvTimeoutError::Timeout) {
            locked(&open).iter().for_each(|socket| mux::keep_alive(socket));
        }
    });
    ours
}

/// Creates a private directory that must not exist yet: in /tmp anybody could have created it.
fn make_folder(path: &Path) -> Result<()> {
    rustix::fs::mkdir(path, rustix::fs::Mode::RWXU)
        .map_err(|error| Error::io(format!("cannot make {}", path.display()), error))
}

/// Whether a directory is our own. Another user's, which `sudo -E` may pass on, could be swapped, and with it the
/// connection.
fn is_ours(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| is_directory(&stat) && is_of(&stat, Owner::Us, Others::Readers))
}

/// Removes leftovers of killed runs.
fn sweep(above: &Path) {
    for entry in std::fs::read_dir(above).into_iter().flatten().flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // In /tmp others may have created it.
        let ours = named && is_ours(&entry.path());
        // A new one may not be locked yet.
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if ours && age().is_some_and(|age| age > Duration::from_secs(60)) {
            let free = |folder: &OwnedFd| flock(folder, FlockOperation::NonBlockingLockExclusive).is_ok();
            if files::directory(&entry.path()).is_ok_and(|folder| free(&folder)) {
                let _left = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_suits_sockets_and_is_gone_afterwards() {
        let place = tempfile::tempdir().unwrap();
        let (blank, long) = (place.path().join("a b"), place.path().join("x".repeat(60)));
        for (given, used) in [(place.path(), place.path()), (&blank, Path::new("/tmp")), (&long, Path::new("/tmp"))] {
            std::fs::create_dir_all(given).unwrap();
            let sockets = Sockets::new(Some(given)).unwrap();
            assert_eq!(sockets.folder.parent(), Some(used));
            assert!(sockets.path() != sockets.path());
            assert_eq!(rustix::fs::stat(&sockets.folder).unwrap().st_mode & 0o777, 0o700);
            let folder = sockets.folder.clone();
            drop(sockets);
            assert!(!folder.exists());
        }
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_lives_is_not() {
        let place = tempfile::tempdir().unwrap();
        let living = Sockets::new(Some(place.path())).unwrap();
        let old = place.path().join(format!("{PREFIX}old"));
        std::fs::create_dir(&old).unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        for folder in [&old, &living.folder] {
            std::fs::File::open(folder).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(place.path());
        assert!(!old.exists() && living.folder.exists());
    }

    #[test]
    fn a_folder_that_others_can_change_is_neither_used_nor_swept() {
        let place = tempfile::tempdir().unwrap();
        let open = place.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert_eq!(Sockets::new(Some(&open)).unwrap().folder.parent(), Some(Path::new("/tmp")));
        // Works only as root.
        if std::os::unix::fs::chown(&open, Some(1234), None).is_ok() {
            std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            assert_eq!(Sockets::new(Some(&open)).unwrap().folder.parent(), Some(Path::new("/tmp")));
            let old = place.path().join(format!("{PREFIX}old"));
            std::fs::create_dir(&old).unwrap();
            let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
            std::fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();
            std::os::unix::fs::chown(&old, Some(1234), None).unwrap();
            sweep(place.path());
            assert!(old.exists());
        }
    }
}
