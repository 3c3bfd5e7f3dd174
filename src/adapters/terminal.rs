//! The terminal, for questions. Hidden input is typed with echo off; echo is turned off before the question appears,
//! and back on however the question ends, Ctrl-C included. Input is read with read(2) into one wiped buffer: the
//! standard library's buffer would keep a copy.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::adapters::descriptor::{LINE, LOOK, ready};
use crate::adapters::signals;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// How long after a line the rest of a paste may still arrive, in nanoseconds.
const PASTE: i64 = 60_000_000;

/// The controlling terminal, whatever standard input and output are.
pub struct Terminal(OwnedFd);

impl Terminal {
    /// Opens it; `None` if there is none, as in a script, a service or a CI pipeline.
    pub fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open("/dev/tty", flags, Mode::empty()).ok().map(Self)
    }

    /// Files on the terminal for the standard input, output and error of an interactive program.
    pub fn streams(&self) -> Result<[File; 3]> {
        let file = || self.0.try_clone().map(File::from).map_err(|error| Error::io("cannot use the terminal", error));
        Ok([file()?, file()?, file()?])
    }

    /// Asks for hidden lines, one per question, with echo off from the first question to the last answer.
    ///
    /// Fails with `Interrupted` on Ctrl-C; if a line is too long for a terminal; if more than one line arrives at once,
    /// as from a paste; or if nothing can be read.
    pub fn hidden(&self, questions: &[String]) -> Result<Vec<Plaintext>> {
        signals::check()?;
        let _quiet = Quiet::begin(&self.0)?;
        let ask = |question: &String| {
            let answer = self.ask(question, true)?;
            if self.overflowed() {
                return Err(Error::failed("more than one line was typed or pasted; nothing changed")
                    .help("what has several lines is given with `--from-file FILE` or `--stdin`, or written with `sealift edit NAME`"));
            }
            Ok(answer)
        };
        questions.iter().map(ask).collect()
    }

    /// Asks for a yes; anything else is a no. Input typed before the question is discarded.
    pub fn confirm(&self, question: &str) -> Result<bool> {
        signals::check()?;
        tcflush(&self.0, QueueSelector::IFlush).map_err(|error| Error::io("cannot use the terminal", error))?;
        let answer = self.ask(&format!("{question} [y/N] "), false)?;
        Ok(answer.expose(|bytes| matches!(bytes.trim_ascii().to_ascii_lowercase().as_slice(), b"y" | b"yes")))
    }

    /// Asks for a line, with echo. Input typed before the question is discarded.
    pub fn answer(&self, question: &str) -> Result<String> {
        signals::check()?;
        tcflush(&self.0, QueueSelector::IFlush).map_err(|error| Error::io("cannot use the terminal", error))?;
        let answer = self.ask(question, false)?;
        Ok(answer.expose(|bytes| String::from_utf8_lossy(bytes.trim_ascii()).into_owned()))
    }

    /// Whether more input followed the last line. It is discarded, because the shell would read it.
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
            // The newline that was typed was not echoed.
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

    /// Reads one line, without its newline.
    fn line(&self) -> Result<Plaintext> {
        let mut line = Zeroizing::new(Vec::with_capacity(LINE));
        loop {
            signals::check()?;
            if !self.wait(LOOK) {
                continue;
            }
            match rustix::io::read(&self.0, rustix::buffer::spare_capacity(&mut line)) {
                // Ctrl-D, or the terminal is gone.
                Ok(0) if line.is_empty() => return Err(Error::failed("nothing was typed; nothing changed")),
                Ok(0) => break,
                Ok(_) => {}
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => return Err(Error::io("cannot read from the terminal", error)),
            }
            if line.len() >= LINE - 1 {
                return Err(Error::failed("the typed line is too long for a terminal, which would cut it")
                    .help("give a long value with `--stdin` or `--from-file FILE`"));
            }
            if line.last() == Some(&b'\n') {
                line.pop();
                break;
            }
        }
        Ok(Plaintext::take(std::mem::take(&mut *line)))
    }

    fn wait(&self, nanoseconds: i64) -> bool {
        ready(&self.0, nanoseconds)
    }
}

/// The terminal with echo off, restored on drop.
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
        // Being stopped or killed here would leave the terminal without echo; Ctrl-C still works.
        quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
        quiet.special_codes[SpecialCodeIndex::VQUIT] = 0;
        // Flush: input typed before, with echo, is not an answer.
        tcsetattr(terminal, OptionalActions::Flush, &quiet).map_err(failed)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Flush again: input after the answer must neither reach the shell nor be shown. If the terminal is gone, there
        // is nothing to restore.
        let _gone = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
