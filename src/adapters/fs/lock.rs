//! A lock file with a bounded wait. The kernel releases the lock when the holder ends, however it ends; the content of
//! the file is only for people to read.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock, ftruncate, openat};
use rustix::io::Errno;

use crate::adapters::signals;
use crate::error::{Error, Result};

/// A held lock, released when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: OwnedFd,
}

/// Takes the lock file `shown`, in this directory, and writes `who` into it. Waits at most `patience`.
///
/// Fails if somebody else holds it for longer, and says who; with `Interrupted` on Ctrl-C.
pub fn take(directory: impl AsFd, shown: &str, who: &str, patience: Duration) -> Result<Lock> {
    let failed = |error: Errno| Error::io(format!("cannot take the lock {shown}"), error);
    let name = shown.rsplit('/').next().unwrap_or(shown);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = openat(directory, name, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
    // Anyone who can open it can hold it forever. Set here because the umask may have changed the mode.
    fchmod(&file, Mode::from_raw_mode(0o600)).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => file = wait(file, shown, patience)?,
        Err(error) => return Err(failed(error)),
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let text = format!("{who}, process {}, since {now}\n", rustix::process::getpid().as_raw_nonzero());
    // The content is only informative.
    let _unsaid = ftruncate(&file, 0).and_then(|()| rustix::io::pwrite(&file, text.as_bytes(), 0));
    Ok(Lock { _file: file })
}

/// Waits on its own thread, because flock has no timeout. A thread that gets the lock too late drops it.
fn wait(file: OwnedFd, shown: &str, patience: Duration) -> Result<OwnedFd> {
    let holder = holder(&file);
    let (give, take) = channel();
    std::thread::spawn(move || {
        let outcome = loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        // The receiver may be gone.
        let _late = give.send(outcome.map(|()| file));
    });
    let until = Instant::now() + patience;
    loop {
        signals::check()?;
        let left = until.saturating_duration_since(Instant::now());
        // Wakes up regularly to check for Ctrl-C.
        match take.recv_timeout(left.min(Duration::from_millis(500))) {
            Ok(Ok(file)) => return Ok(file),
            Ok(Err(error)) => return Err(Error::io(format!("cannot take the lock {shown}"), error)),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => {
                return Err(Error::failed(format!("another sealift is running here: {shown} is held by {holder}"))
                    .help("wait until it is done; the lock goes with its holder, and the file need not be removed"));
            }
        }
    }
}

fn holder(file: &OwnedFd) -> String {
    let mut bytes = [0; 128];
    let read = rustix::io::pread(file, &mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..read]);
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { "another process".to_owned() } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::fs::files;

    #[test]
    fn a_second_one_waits_and_is_told_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let fd = files::directory(directory.path()).unwrap();
        let shown = directory.path().join("x.lock").display().to_string();
        let first = take(&fd, &shown, "first", Duration::ZERO).unwrap();
        let error = take(&fd, &shown, "second", Duration::from_millis(20)).unwrap_err();
        assert!(error.message().contains("held by first, process "), "{error:?}");
        std::thread::scope(|scope| {
            let third = scope.spawn(|| take(&fd, &shown, "third", Duration::from_secs(20)));
            drop(first);
            assert!(third.join().unwrap().is_ok());
        });
    }
}
