//! What a child prints and says, read while it runs: whole, by lines, or its end.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How much is kept of what a program says: its end, which tells why it failed.
const SAID: usize = 64 << 10;
/// How long a line may be that is passed on; the rest of a longer one is dropped.
const LINE: u64 = 1 << 20;
/// How often a file is looked at that a child writes.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Tells when a child has ended; none where the kernel cannot.
#[derive(Clone)]
pub struct End(Option<Arc<OwnedFd>>);

impl End {
    /// Of this child, which nobody has waited for yet.
    pub fn of(child: &Child) -> Self {
        Self(pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok().map(Arc::new))
    }

    /// Waits until the child has ended, and ends it after this time. Whether that had to be done.
    pub fn within(&self, limit: Duration) -> bool {
        // It may end by itself in between.
        self.0.as_ref().is_some_and(|end| !comes(end, limit) && pidfd_send_signal(end, Signal::KILL).is_ok())
    }

    /// Waits until the child has ended, and ends it once nothing was heard of it for this time. Whether that had to be done.
    pub fn while_heard(&self, limit: Duration, last: &Mutex<Instant>) -> bool {
        let Some(end) = &self.0 else { return false };
        loop {
            let silent = last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            match limit.saturating_sub(silent) {
                Duration::ZERO => return self.within(Duration::ZERO),
                left if comes(end, left) => return false,
                _ => {}
            }
        }
    }

    /// Waits a moment for the child's end. Whether it has ended; where the kernel cannot tell, whoever asks waited for it.
    fn came(&self) -> bool {
        self.0.as_ref().is_none_or(|end| poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&PAUSE)) == Ok(1))
    }

    /// Whether the kernel can tell.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// A file that the child writes.
    pub fn follows<'a>(&self, file: &'a File) -> Growing<'a> {
        Growing { file, at: 0, end: self.clone() }
    }

    /// A pipe of the child.
    pub fn reads<P: Read + AsFd>(&self, pipe: P) -> Pipe<P> {
        Pipe { pipe, end: self.clone() }
    }
}

/// Whether the end comes within this time.
fn comes(end: &OwnedFd, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&limit)) != Ok(0)
}

/// A pipe of a child: it ends with itself, or with the child once it is empty. Whom the child handed it to may keep it open
/// for ever, as the connection does that ssh shares.
pub struct Pipe<P> {
    pipe: P,
    end: End,
}

impl<P: Read + AsFd> Pipe<P> {
    /// Waits for either. Whether there is something to read.
    fn wait(&self, end: &OwnedFd) -> Result<bool> {
        let ready = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        let mut both = [PollFd::new(&self.pipe, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        poll(&mut both, None)?;
        if both[0].revents().intersects(ready) {
            return Ok(true);
        }
        if !both[1].revents().intersects(ready) {
            return Ok(true);
        }
        // It may have printed its last between the two looks.
        let mut again = [PollFd::new(&self.pipe, PollFlags::IN)];
        poll(&mut again, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(again[0].revents().intersects(ready))
    }
}

impl<P: Read + AsFd> Read for Pipe<P> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match &self.end.0 {
            Some(end) if !self.wait(end)? => Ok(0),
            _ => self.pipe.read(buffer),
        }
    }
}

/// A file that a child writes, read while it grows. It ends with the child.
pub struct Growing<'a> {
    file: &'a File,
    at: u64,
    end: End,
}

impl Read for Growing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut over = false;
        loop {
            // `> /dev/stderr` in a script empties the file.
            self.at = self.at.min(self.file.metadata()?.len());
            let read = self.file.read_at(buffer, self.at)?;
            self.at += read as u64;
            if read > 0 || over {
                return Ok(read);
            }
            // What it wrote last is read after its end was seen.
            over = self.end.came();
        }
    }
}

/// Calls for each line of a pipe until it ends, also for bytes that are not text. No line is longer than `LINE`.
pub fn each_line(pipe: impl Read, mut call: impl FnMut(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(reader.by_ref().take(LINE).read_until(b'\n', &mut line), Ok(read) if read > 0) {
        call(String::from_utf8_lossy(&line).trim_end());
        if !line.ends_with(b"\n") {
            // Either the end, or more of a line that nobody needs.
            let _end = reader.skip_until(b'\n');
        }
        line.clear();
    }
}

/// Reads a pipe to its end, and keeps the end of what came.
pub fn keep_end(mut pipe: impl Read, kept: &mut Vec<u8>) -> Result<()> {
    let mut chunk = [0; 8192];
    loop {
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => kept.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        cut(kept);
    }
}

/// Cuts the beginning off once twice as much is there as is kept.
pub fn cut(kept: &mut Vec<u8>) {
    if kept.len() > 2 * SAID {
        kept.drain(..kept.len() - SAID);
    }
}
