//! The only file that starts processes. A call is data (program, arguments, environment, input); nothing goes through a
//! shell, no secret goes into arguments or the environment.
//!
//! One exception: the age library itself starts `age-plugin-NAME` for plugin keys, after `plugin` has checked the name
//! against the user's list.

mod call;
mod own;
pub mod parallel;
pub mod path;
pub mod pipe;
pub mod timeout;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, fchmod, openat};
use rustix::process::Pid;

use crate::adapters::process::call::give_secret;
pub use crate::adapters::process::call::{Ended, Invocation, Output, quote_as};
pub use crate::adapters::process::own::{leave_session, leaves_children, raise_open_files};
use crate::adapters::process::pipe::{End, Pipe, cut, each_line, keep_end};
use crate::adapters::system;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Kind, Result};

/// Variables that make a child print secrets or load foreign code.
const DROPPED: [&str; 6] = ["AGEDEBUG", "LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "ENV", "SHELLOPTS"];

impl Invocation {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
    fn command(&self) -> Result<Command> {
        let mut command = match self.found()? {
            Some(place) => {
                let mut command = Command::new(place);
                command.arg0(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        if let Some((user, group)) = self.user {
            command.env_clear().uid(user).gid(group);
        }
        command.args(&self.arguments).env("LC_ALL", "C.UTF-8");
        if let Some(path) = path::of_children() {
            command.env("PATH", path);
        }
        for name in DROPPED {
            command.env_remove(name);
        }
        for name in &self.without {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        Ok(command)
    }

    /// The path of the program; `None` if it was given as a path, or if the call sets PATH itself.
    fn found(&self) -> Result<Option<PathBuf>> {
        let says_where = self.environment.iter().any(|(name, _)| name == "PATH");
        if says_where || self.program.as_encoded_bytes().contains(&b'/') {
            return Ok(None);
        }
        path::place(&self.program)
    }

    fn start(&self, command: &mut Command) -> Result<Child> {
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => path::missing(&self.name()),
            _ => Error::io(format!("cannot start {}", self.name()), error),
        })?;
        own::lower_open_files(Pid::from_child(&child));
        Ok(child)
    }

    fn end_of(&self, child: &mut Child) -> Result<Ended> {
        child.wait().map(Ended::of).map_err(|error| Error::io(format!("cannot wait for {}", self.name()), error))
    }

    /// The command with a pipe for stderr, and one for stdin if there is input.
    fn piping(&self) -> Result<Command> {
        let mut command = self.command()?;
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() }).stderr(Stdio::piped());
        Ok(command)
    }

    fn give(&self, pipe: ChildStdin) {
        if let Some(input) = &self.input {
            input.write(pipe);
        }
    }

    /// Reads all of stdout.
    ///
    /// Fails if it exceeds the limit; dropping the pipe ends a child that keeps printing.
    fn whole(&self, pipe: impl Read) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        pipe.take(self.limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| self.unread(error))?;
        if bytes.len() as u64 > self.limit {
            return Err(Error::failed(format!("{} prints more than {} bytes", self.name(), self.limit)));
        }
        Ok(bytes)
    }

    fn unread(&self, error: std::io::Error) -> Error {
        Error::io(format!("cannot read what {} prints", self.name()), error)
    }

    /// Starts the child, serves all of its pipes and waits for it to exit. The pipes are served in parallel: a child
    /// that blocks on one must not wait for us on another.
    ///
    /// Fails with `Unreachable` if the child was killed on timeout: measured from its start, or, with `heard`, from its
    /// last output.
    fn serve<P, S: Send>(
        &self,
        mut command: Command,
        heard: Option<&Mutex<Instant>>,
        write: impl FnOnce(ChildStdin) + Send,
        printed: impl FnOnce(Pipe<ChildStdout>) -> P,
        said: impl FnOnce(Pipe<ChildStderr>) -> S + Send,
    ) -> Result<(P, Option<S>, Ended)> {
        let mut child = self.start(command.stdout(Stdio::piped()))?;
        let (input, out, err, end) = (child.stdin.take(), child.stdout.take(), child.stderr.take(), &End::of(&child));
        let (started, patience) = (Mutex::new(Instant::now()), self.patience);
        let last = heard.unwrap_or(&started);
        let (printed, said, late) = std::thread::scope(|scope| {
            scope.spawn(|| input.map(write));
            let late = patience.map(|patience| scope.spawn(move || end.while_heard(patience, last)));
            let said = scope.spawn(|| err.map(|pipe| said(end.reads(pipe))));
            let printed = out.map(|pipe| printed(end.reads(pipe)));
            (printed, said.join().ok().flatten(), late.is_some_and(|late| late.join().unwrap_or(false)))
        });
        let ended = self.end_of(&mut child)?;
        if let Some(patience) = patience.filter(|_| late) {
            let what = if heard.is_some() { "nothing was heard for" } else { "no answer within" };
            let message = format!("{}: {what} {} s", self.name(), patience.as_secs());
            return Err(Error::new(Kind::Unreachable, message));
        }
        let printed = printed.ok_or_else(|| Error::failed(format!("{} prints nothing", self.name())))?;
        Ok((printed, said, ended))
    }

    /// Runs the program and collects its output.
    ///
    /// Fails only if it cannot be started, read or written; the exit status is in the output.
    pub fn run(&self) -> Result<Output> {
        let write = |pipe| self.give(pipe);
        let (stdout, stderr, ended) = self.serve(self.piping()?, None, write, |pipe| self.whole(pipe), keep_end)?;
        let stderr = stderr.unwrap_or(Ok(Vec::new())).map_err(|error| self.unread(error))?;
        Ok(Output { stdout: stdout?, stderr, ended })
    }

    /// Runs the program and returns its stdout.
    ///
    /// Fails if it cannot be started or exits with an error, which quotes the last lines of stderr.
    pub fn read(&self) -> Result<Vec<u8>> {
        self.success(self.run()?)
    }

    /// Runs an interactive program on our own streams; if it has input, that is its stdin.
    ///
    /// Fails only if it cannot be started or waited for.
    pub fn attended(&self) -> Result<Ended> {
        let mut command = self.command()?;
        if self.input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = self.start(&mut command)?;
        if let Some(pipe) = child.stdin.take() {
            self.give(pipe);
        }
        self.end_of(&mut child)
    }

    /// Runs the program on these terminal streams. Without them it has no input, and its stdout goes to our stderr.
    pub fn on_terminal(&self, terminal: Option<[File; 3]>) -> Result<Ended> {
        let mut command = self.command()?;
        match terminal {
            Some([input, output, errors]) => command.stdin(input).stdout(output).stderr(errors),
            None => command.stdin(Stdio::null()).stdout(std::io::stderr()),
        };
        self.end_of(&mut self.start(&mut command)?)
    }

    /// Runs the program on these terminal streams and returns its stdout. Without them it has no input, and `line` gets
    /// each line of its stderr.
    pub fn asking(&self, terminal: Option<[File; 3]>, line: impl Fn(&str) + Sync) -> Result<Output> {
        let mut command = self.command()?;
        match terminal {
            Some([input, _, errors]) => command.stdin(input).stderr(errors),
            None => command.stdin(Stdio::null()).stderr(Stdio::piped()),
        };
        let said = |pipe| each_line(pipe, &line);
        let (stdout, _, ended) = self.serve(command, None, drop, |pipe| self.whole(pipe), said)?;
        Ok(Output { stdout: stdout?, stderr: Vec::new(), ended })
    }

    /// Writes plaintext to the program's stdin and returns its stdout, as plaintext too. Its stderr is ours.
    pub fn exchange(&self, input: &Plaintext, limit: usize) -> Result<(Plaintext, Ended)> {
        let mut command = self.command()?;
        command.stdin(Stdio::piped());
        let read = |pipe| Plaintext::read(pipe, input.len() + (64 << 10), limit);
        let (answer, _, ended) = self.serve(command, None, |pipe| give_secret(pipe, input), read, drop)?;
        Ok((answer.map_err(|error| self.unread(error))?, ended))
    }

    /// Runs the program, passes on each line of stderr as it arrives, and returns the output.
    pub fn watched(&self, mut line: impl FnMut(&str) + Send) -> Result<Output> {
        let said = |pipe| {
            let mut end = Vec::new();
            each_line(pipe, |text| {
                line(text);
                end.extend_from_slice(text.as_bytes());
                end.push(b'\n');
                cut(&mut end);
            });
            end
        };
        let (stdout, stderr, ended) = self.serve(self.piping()?, None, drop, |pipe| self.whole(pipe), said)?;
        Ok(Output { stdout: stdout?, stderr: stderr.unwrap_or_default(), ended })
    }

    /// Runs the program with its input, passes on each line of stdout and stderr, and waits for it to exit.
    ///
    /// Fails if it cannot be started or waited for; with `Unreachable` if it was killed because it printed nothing for
    /// too long.
    pub fn converse(&self, mut printed: impl FnMut(&str), said: impl Fn(&str) + Sync) -> Result<Ended> {
        let last = Mutex::new(Instant::now());
        let heard = || *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let each = |pipe: &mut dyn Read, tell: &mut dyn FnMut(&str)| {
            each_line(pipe, |line| {
                heard();
                tell(line);
            });
        };
        let printed = |mut pipe| each(&mut pipe, &mut printed);
        let said = |mut pipe| each(&mut pipe, &mut |line| said(line));
        let ((), _, ended) = self.serve(self.piping()?, Some(&last), |pipe| self.give(pipe), printed, said)?;
        Ok(ended)
    }

    /// Runs the program with stdout and stderr in an in-memory file, and passes on each line. Unlike a pipe, the file
    /// still accepts writes from a program that outlives this process.
    ///
    /// Fails only if the file cannot be made, or the program cannot be started or waited for.
    pub fn logged(&self, line: impl FnMut(&str)) -> Result<Ended> {
        let failed = |error: std::io::Error| Error::io(format!("cannot keep what {} prints", self.name()), error);
        let file = system::memory("sealift-log").map(File::from).map_err(|error| failed(error.into()))?;
        // As private as a pipe: a switch also starts programs of users, and anyone who can inspect one of those through
        // /proc could otherwise open the file, read the log and write into it.
        fchmod(&file, Mode::from_raw_mode(0o600)).map_err(|error| failed(error.into()))?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
        let written = openat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty());
        let written = written.map(File::from).map_err(|error| failed(error.into()))?;
        let mut command = self.command()?;
        command.stdin(Stdio::null());
        command.stdout(written.try_clone().map_err(failed)?).stderr(written);
        let mut child = self.start(&mut command)?;
        let end = End::of(&child);
        if !end.is_known() {
            self.end_of(&mut child)?;
        }
        each_line(end.follows(&file), line);
        self.end_of(&mut child)
    }

    /// Runs the program; `write` gets its stdin, on a thread of its own, and `read` its stdout. If `read` returns
    /// early, the pipe is closed, which ends the program.
    ///
    /// Fails only if it cannot be started or waited for; stdout is not in the output.
    pub fn piped<T>(
        &self,
        write: impl FnOnce(ChildStdin) + Send,
        read: impl FnOnce(&mut ChildStdout) -> T,
    ) -> Result<(T, Output)> {
        let mut command = self.piping()?;
        command.stdin(Stdio::piped());
        let read = |mut pipe: Pipe<ChildStdout>| read(&mut pipe.pipe);
        let (result, stderr, ended) = self.serve(command, None, write, read, keep_end)?;
        let stderr = stderr.and_then(std::io::Result::ok).unwrap_or_default();
        Ok((result, Output { stdout: Vec::new(), stderr, ended }))
    }

    /// Runs the program without stdout and kills it after `limit`, while no file of ours is open. Its stderr goes to
    /// `said`. Background processes that hold its streams are not waited for. The input must fit into a pipe.
    pub fn leaving(&self, said: impl Into<Stdio>, limit: Duration) -> Result<Ended> {
        let mut command = self.command()?;
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::null()).stderr(said);
        let mut child = self.start(&mut command)?;
        drop(command);
        if let Some(pipe) = child.stdin.take() {
            self.give(pipe);
        }
        let end = Instant::now().checked_add(limit);
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(Ended::of(status)),
                Ok(None) if end.is_none_or(|end| Instant::now() < end) => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    // It may have exited meanwhile.
                    let _ended = child.kill();
                    let _waited = child.wait();
                    return Err(Error::failed(format!("{} does not end within {} s", self.name(), limit.as_secs())));
                }
                Err(error) => return Err(Error::io(format!("cannot wait for {}", self.name()), error)),
            }
        }
    }

    /// Starts a program that echoes its input, such as `cat`, and waits until it does. Its input ends when the result
    /// is dropped, and also when this process is killed. Its stderr goes to `said`.
    ///
    /// Fails if it cannot be started or exits; with `Unreachable` if there is no echo in time.
    pub fn held(&self, said: impl Into<Stdio>, limit: Duration) -> Result<Held> {
        const WORD: &str = "sealift-is-here";
        let mut command = self.command()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said);
        let mut child = self.start(&mut command)?;
        let (mut input, out) = (child.stdin.take(), child.stdout.take());
        if let Some(pipe) = &mut input {
            // If it has already exited, the wait below fails.
            let _ended_early = pipe.write_all(format!("{WORD}\n").as_bytes()).and_then(|()| pipe.flush());
        }
        let (heard, answer) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            if let Some(pipe) = out {
                // Read to the end: a child that prints an endless greeting must not block on a full pipe.
                each_line(pipe, |line| {
                    if line.ends_with(WORD) {
                        let _once = heard.try_send(());
                    }
                });
            }
        });
        let held = Held { child, input };
        match answer.recv_timeout(limit) {
            Ok(()) => Ok(held),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Error::failed(format!("{} ended", self.name()))),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let message = format!("{} does not answer within {} s", self.name(), limit.as_secs());
                Err(Error::new(Kind::Unreachable, message))
            }
        }
    }
}

/// A program that runs until this is dropped.
pub struct Held {
    child: Child,
    input: Option<ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have exited already.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
