//! A child's stdout and stderr, read while it runs: whole, by lines, or the last part.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Result};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::adapters::system::{self, ChildEnd};

/// How many bytes of stderr are kept: the last ones, which say why the program failed.
const SAID: usize = 64 << 10;
/// The maximum length of a line that is passed on; the rest of a longer one is dropped.
const LINE: u64 = 1 << 20;
/// How often a growing file is polled.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// How many bytes already read stay in memory.
const KEPT: u64 = 1 << 20;

/// Becomes readable once the child has exited; `None` if the kernel cannot report that.
#[derive(Clone)]
pub struct End(Option<Arc<ChildEnd>>);

impl End {
    /// For a child that was not waited for yet.
    pub fn of(child: &Child) -> Self {
        Self(system::end_of(Pid::from_child(child)).ok().map(Arc::new))
    }

    /// Waits until the child has exited; kills it after `limit`. Returns whether it was killed.
    pub fn within(&self, limit: Duration) -> bool {
        // The child may exit by itself in between.
        self.0.as_ref().is_some_and(|end| !comes(end, limit) && system::kill(end).is_ok())
    }

    /// Waits until the child has exited; kills it once there was no output for `limit`. Returns whether it was killed.
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

    /// Waits at most `limit` for the child to exit, and returns whether it has. If the kernel cannot report that, the
    /// caller has already waited.
    fn came(&self, limit: &Timespec) -> bool {
        self.0.as_ref().is_none_or(|end| poll(&mut [PollFd::new(end, PollFlags::IN)], Some(limit)) == Ok(1))
    }

    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Reads a file that the child writes to.
    pub fn follows<'a>(&self, file: &'a File) -> Growing<'a> {
        Growing { file, at: 0, freed: 0, last: None, end: self.clone() }
    }

    /// Reads a pipe of the child.
    pub fn reads<P: Read + AsFd>(&self, pipe: P) -> Pipe<P> {
        Pipe { pipe, end: self.clone() }
    }
}

/// Whether the child exits within `limit`.
fn comes(end: &ChildEnd, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&limit)) != Ok(0)
}

/// A pipe of a child. It ends at end of file, or when the child has exited and the pipe is empty: a process that the
/// child started may keep it open forever, such as a shared ssh connection.
pub struct Pipe<P> {
    pub pipe: P,
    end: End,
}

impl<P: Read + AsFd> Pipe<P> {
    /// Waits for data or the child's exit. Returns whether there is something to read.
    fn wait(&self, end: &ChildEnd) -> Result<bool> {
        let ready = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        let mut both = [PollFd::new(&self.pipe, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        poll(&mut both, None)?;
        if both[0].revents().intersects(ready) {
            return Ok(true);
        }
        if !both[1].revents().intersects(ready) {
            return Ok(true);
        }
        // The child may have written just before it exited.
        let mut again = [PollFd::new(&self.pipe, PollFlags::IN)];
        poll(&mut again, Some(&AT_ONCE))?;
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

/// An in-memory file that a child writes to, read while it grows. It ends at its length when the child exited:
/// processes that inherited it may keep writing. Memory that was read is released.
pub struct Growing<'a> {
    file: &'a File,
    at: u64,
    freed: u64,
    /// The file's length when the child exited.
    last: Option<u64>,
    end: End,
}

impl Growing<'_> {
    /// The next offset with data; `None` if nothing was written there. Anyone who has the file open can extend it
    /// without writing.
    fn next(&self) -> Result<Option<u64>> {
        match seek(self.file, SeekFrom::Data(self.at)) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Growing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let ended = self.last.is_none() && self.end.came(&AT_ONCE);
            let length = self.file.metadata()?.len();
            if ended {
                self.last = Some(length);
            }
            // `> /dev/stderr` in a script truncates the file.
            self.at = self.at.min(length);
            self.freed = self.freed.min(length);
            let length = self.last.map_or(length, |last| last.min(length));
            if let Some(at) = self.next()?.filter(|at| *at < length) {
                let most = usize::try_from(length - at).map_or(buffer.len(), |most| most.min(buffer.len()));
                let read = self.file.read_at(&mut buffer[..most], at)?;
                self.at = at + read as u64;
                if self.at - self.freed > KEPT {
                    system::give_back(self.file, self.freed, self.at - self.freed)?;
                    self.freed = self.at;
                }
                if read > 0 {
                    return Ok(read);
                }
            }
            if self.last.is_some() {
                return Ok(0);
            }
            self.end.came(&PAUSE);
        }
    }
}

/// Calls `call` for each line of a pipe until it ends. Invalid UTF-8 is replaced, and lines are cut at `LINE` bytes.
pub fn each_line(pipe: impl Read, mut call: impl FnMut(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(reader.by_ref().take(LINE).read_until(b'\n', &mut line), Ok(read) if read > 0) {
        call(String::from_utf8_lossy(&line).trim_end());
        if !line.ends_with(b"\n") {
            // Either end of file, or the rest of a line that is too long.
            let _end = reader.skip_until(b'\n');
        }
        line.clear();
    }
}

/// Reads a pipe to its end and keeps the last part.
pub fn keep_end(mut pipe: impl Read) -> Result<Vec<u8>> {
    let (mut kept, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(kept),
            Ok(read) => kept.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        cut(&mut kept);
    }
}

/// Drops the oldest bytes once there are more than twice `SAID`.
pub fn cut(kept: &mut Vec<u8>) {
    if kept.len() > 2 * SAID {
        kept.drain(..kept.len() - SAID);
    }
}
