//! The terminal, for questions. What must not be seen is typed with echo off; echo is off before the question appears,
//! and is back on whatever ends the question, Ctrl-C included. Read with read(2) into one wiped buffer: the library's
//! own buffer behind standard input would keep a copy.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
};
use zeroize::Zeroizing;

use crate::adapters::signals;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// What the kernel holds of one typed line, newline included. More is dropped by it without a word, so a line that
/// reaches this is refused.
const LINE: usize = 4096;
/// How often a waiting question looks whether Ctrl-C came, in nanoseconds.
const LOOK: i64 = 100_000_000;
/// How long after a line the rest of a paste may still arrive, in nanoseconds.
const PASTE: i64 = 60_000_000;

/// How many columns and lines a terminal has; none where it is no terminal, or does not say.
pub fn size(of: impl AsFd) -> Option<(usize, usize)> {
    let size = tcgetwinsize(of).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// The terminal that the program was started from, whatever standard input and output are.
pub struct Terminal(OwnedFd);

impl Terminal {
    /// Opens it; none where there is none, such as in a script, a service or a pipeline of CI.
    pub fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open("/dev/tty", flags, Mode::empty()).ok().map(Self)
    }

    /// A file of its own on the terminal, for a program that is to talk to the person.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn file(&self) -> Result<File> {
        self.0.try_clone().map(File::from).map_err(|error| Error::io("cannot use the terminal", error))
    }

    /// Asks for lines that are not shown, one question each, with echo off from the first question to the last answer.
    ///
    /// # Errors
    /// `Interrupted` on Ctrl-C; when the line is too long for a terminal; when more than one line arrives at once, as
    /// from a paste; when nothing can be read.
    pub fn hidden(&self, questions: &[String]) -> Result<Vec<Plaintext>> {
        signals::check()?;
        let _quiet = Quiet::begin(&self.0)?;
        let ask = |question: &String| {
            let answer = self.ask(question, true)?;
            if self.overflowed() {
                return Err(Error::failed("more than one line was typed or pasted; nothing changed")
                    .hint("what has several lines is given with `--from-file FILE` or `--stdin`, or written with `sealift edit`"));
            }
            Ok(answer)
        };
        questions.iter().map(ask).collect()
    }

    /// Asks for a yes; anything else is a no. What was typed before the question appeared is no answer to it.
    ///
    /// # Errors
    /// `Interrupted` on Ctrl-C.
    pub fn confirm(&self, question: &str) -> Result<bool> {
        signals::check()?;
        tcflush(&self.0, QueueSelector::IFlush).map_err(|error| Error::io("cannot use the terminal", error))?;
        let answer = self.ask(&format!("{question} [y/N] "), false)?;
        Ok(answer.expose(|bytes| matches!(bytes.trim_ascii().to_ascii_lowercase().as_slice(), b"y" | b"yes")))
    }

    /// Whether more was typed or pasted behind the last line. It is thrown away: left alone, it would reach the shell.
    fn overflowed(&self) -> bool {
        let more = self.wait(PASTE);
        while self.wait(PASTE) {
            let mut rest = Zeroizing::new([0u8; LINE]);
            if !matches!(rustix::io::read(&self.0, &mut rest[..]), Ok(read) if read > 0) {
                break;
            }
        }
        more
    }

    fn ask(&self, question: &str, hidden: bool) -> Result<Plaintext> {
        self.print(question)?;
        let answer = self.line();
        if hidden || answer.is_err() {
            // The newline that was typed was not shown.
            self.print("\n")?;
        }
        answer
    }

    fn print(&self, text: &str) -> Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(&self.0, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => signals::check()?,
                Err(error) => return Err(Error::io("cannot write to the terminal", error)),
            }
        }
        Ok(())
    }

    /// One line without its newline.
    fn line(&self) -> Result<Plaintext> {
        let mut line = Zeroizing::new(Vec::with_capacity(LINE));
        loop {
            signals::check()?;
            if !self.wait(LOOK) {
                continue;
            }
            match rustix::io::read(&self.0, rustix::buffer::spare_capacity(&mut line)) {
                // Ctrl-D, or a terminal that is gone.
                Ok(0) if line.is_empty() => return Err(Error::failed("nothing was typed; nothing changed")),
                Ok(0) => break,
                Ok(_) => {}
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => return Err(Error::io("cannot read from the terminal", error)),
            }
            if line.len() >= LINE - 1 {
                return Err(Error::failed("the typed line is too long for a terminal, which would cut it")
                    .hint("give a long value with `--stdin` or `--from-file FILE`"));
            }
            if line.last() == Some(&b'\n') {
                line.pop();
                break;
            }
        }
        Ok(Plaintext::take(std::mem::take(&mut *line)))
    }

    /// Waits until something can be read.
    fn wait(&self, nanoseconds: i64) -> bool {
        ready(&self.0, nanoseconds)
    }
}

/// Whether something can be read, or the end is there, within this time.
fn ready(from: &OwnedFd, nanoseconds: i64) -> bool {
    let mut watched = [PollFd::new(from, PollFlags::IN)];
    matches!(poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: nanoseconds })), Ok(ready) if ready > 0)
}

/// Reads a descriptor, such as standard input, to its end; not through the library's own buffer, which would keep a copy.
///
/// # Errors
/// `Interrupted` on Ctrl-C, also while nothing comes; when there is more than `limit` bytes, or it cannot be read.
pub fn to_end(from: OwnedFd, what: &str, limit: usize) -> Result<Plaintext> {
    Plaintext::read(Attentive(from), 64 << 10, limit).map_err(|error| match signals::check() {
        Err(interrupted) => interrupted,
        Ok(()) => Error::io(format!("cannot read {what}"), error),
    })
}

/// A descriptor whose reader looks whether Ctrl-C came: a read that waits is begun anew after a signal.
struct Attentive(OwnedFd);

impl Read for Attentive {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while !signals::pending() {
            if ready(&self.0, LOOK) {
                return Ok(rustix::io::read(&self.0, buffer)?);
            }
        }
        // Of no kind that a reader takes for a reason to try again.
        Err(std::io::Error::other("interrupted"))
    }
}

/// The terminal with echo off, until this is dropped.
struct Quiet<'a> {
    terminal: &'a OwnedFd,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a OwnedFd) -> Result<Self> {
        let failed = |error| Error::io("cannot turn the terminal's echo off", error);
        let before = tcgetattr(terminal).map_err(failed)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
        quiet.local_modes |= LocalModes::ICANON | LocalModes::ISIG;
        // Stopped or killed here, the terminal would be left as it is now; Ctrl-C is enough to leave.
        quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
        quiet.special_codes[SpecialCodeIndex::VQUIT] = 0;
        // Flush: what was typed before, and shown, is no answer.
        tcsetattr(terminal, OptionalActions::Flush, &quiet).map_err(failed)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Flush again: what was typed behind the answer is not for the shell, and not to be shown.
        // A terminal that is gone needs no restoring.
        let _gone = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Reads one line, byte by byte, from a descriptor that the caller of the program opened for it; what follows the line
/// stays unread.
///
/// # Errors
/// When there is no such descriptor, or it cannot be read.
pub fn line_of_descriptor(number: i32) -> Result<Plaintext> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let missing =
        |error: Errno| Error::usage(format!("descriptor {number} cannot be read")).because(std::io::Error::from(error));
    // A number is not a descriptor that may be used as one's own; the kernel turns it into one.
    let ours = pidfd_open(getpid(), PidfdFlags::empty()).map_err(missing)?;
    let from = pidfd_getfd(&ours, number, PidfdGetfdFlags::empty()).map_err(missing)?;
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
