//! Open file descriptors, such as standard input: read into wiped buffers, while checking for Ctrl-C.

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::adapters::{signals, system};
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// The kernel's limit for one typed line, newline included. It silently drops the rest, so a line this long is
/// rejected.
pub const LINE: usize = 4096;
/// How often a wait checks for Ctrl-C, in nanoseconds.
pub const LOOK: i64 = 100_000_000;

/// Whether data or end of file is available within this time.
pub fn ready(from: &OwnedFd, nanoseconds: i64) -> bool {
    let mut watched = [PollFd::new(from, PollFlags::IN)];
    matches!(poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: nanoseconds })), Ok(ready) if ready > 0)
}

/// Reads a descriptor, such as standard input, to its end; not through the standard library's buffer, which would keep
/// a copy.
///
/// Fails with `Interrupted` on Ctrl-C, even while waiting; or if there are more than `limit` bytes, or it cannot be
/// read.
pub fn to_end(from: OwnedFd, what: &str, limit: usize) -> Result<Plaintext> {
    Plaintext::read(Attentive(from), 64 << 10, limit).map_err(|error| match signals::check() {
        Err(interrupted) => interrupted,
        Ok(()) => Error::io(format!("cannot read {what}"), error),
    })
}

/// A descriptor whose reader checks for Ctrl-C: std restarts a read that a signal interrupts.
struct Attentive(OwnedFd);

impl Read for Attentive {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while !signals::pending() {
            if ready(&self.0, LOOK) {
                return Ok(rustix::io::read(&self.0, buffer)?);
            }
        }
        // Not `Interrupted`, which readers would retry.
        Err(std::io::Error::other("interrupted"))
    }
}

/// Reads one line, byte by byte, from a descriptor that the program's caller opened; what follows the line stays
/// unread.
pub fn line_of_descriptor(number: i32) -> Result<Plaintext> {
    let missing =
        |error: Errno| Error::usage(format!("descriptor {number} cannot be read")).because(std::io::Error::from(error));
    // A raw number cannot safely be turned into an owned descriptor; the kernel duplicates it.
    let from = system::descriptor(number).map_err(missing)?;
    let mut line = Zeroizing::new(Vec::with_capacity(LINE));
    let mut byte = Zeroizing::new([0u8; 1]);
    loop {
        signals::check()?;
        if !ready(&from, LOOK) {
            continue;
        }
        match rustix::io::read(&from, &mut byte[..]) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == LINE => {
                return Err(Error::usage(format!("the line on descriptor {number} is longer than {LINE} bytes")));
            }
            Ok(_) => line.push(byte[0]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(missing(error)),
        }
    }
    Ok(Plaintext::take(std::mem::take(&mut *line)))
}
