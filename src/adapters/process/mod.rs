//! The one file that starts processes. A call is data (program, arguments, environment, input); nothing goes through a
//! shell, nothing secret goes into arguments or environment.
//!
//! The exception, which is not ours to write: the age library itself starts `age-plugin-NAME` for plugin keys, after
//! `plugin` has checked the name against the user's own list.

pub mod parallel;
pub mod path;
pub mod pipe;
pub mod timeout;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, fchmod, memfd_create, openat};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::process::pipe::{End, cut, each_line, keep_end};
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Kind, Result};

/// Variables that make a child print secrets or load foreign code.
const DROPPED: [&str; 6] = ["AGEDEBUG", "LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "ENV", "SHELLOPTS"];

type Quote = Box<dyn Fn(&str) -> String + Send + Sync>;
/// How an error quotes a line that a program printed; as it is, until something else is set.
static QUOTE: OnceLock<Quote> = OnceLock::new();

/// How many files a process might have open before we raised it for ourselves.
static OPEN_FILES: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files to the hard one: many hosts at once need more than most systems allow a process
/// that asks for nothing. Children get what we got, because a program that uses select(2) relies on a low one.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Only allowed, never needed: with few files open the low limit does.
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok() {
        let _said_before = OPEN_FILES.set(limit);
    }
}

/// From now on errors quote each line that a program printed as this returns it.
pub fn quote_as(quote: impl Fn(&str) -> String + Send + Sync + 'static) {
    // There is one machine in a run.
    let _set_before = QUOTE.set(Box::new(quote));
}

#[derive(Clone, Debug)]
pub struct Invocation {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    without: Vec<OsString>,
    directory: Option<PathBuf>,
    input: Option<Input>,
    limit: u64,
    patience: Option<Duration>,
    user: Option<(u32, u32)>,
}

/// What a program gets on its standard input.
#[derive(Clone, Debug)]
enum Input {
    Plain(Vec<u8>),
    /// Shared, so that a copy of the call is no copy of the secret.
    Secret(Arc<Plaintext>),
}

impl Input {
    fn write(&self, mut pipe: impl Write) {
        // A child that does not read its input ends the pipe; how it ends tells the rest.
        let _ended_early = match self {
            Input::Plain(bytes) => pipe.write_all(bytes),
            Input::Secret(secret) => secret.expose(|bytes| pipe.write_all(bytes)),
        };
    }
}

/// What a finished program left.
#[derive(Debug)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub ended: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    pub fn well(self) -> bool {
        self == Ended::Code(0)
    }

    fn of(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, signal) => Ended::Signal(signal.unwrap_or(0)),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "exit code {code}"),
            Ended::Signal(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

impl Invocation {
    /// A program by name (looked up in PATH) or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            without: Vec::new(),
            directory: None,
            input: None,
            limit: u64::MAX,
            patience: None,
            user: None,
        }
    }

    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Runs it as another user and group, by number, with no other group, and with nothing of our environment.
    #[must_use]
    pub fn with_user(mut self, user: u32, group: u32) -> Self {
        self.user = Some((user, group));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.without.push(name.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn in_dir(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Gives this to its standard input, which is empty otherwise.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(Input::Plain(bytes.into()));
        self
    }

    /// Gives a line with a secret to its standard input, such as the password that `sudo -S` reads, and these bytes after
    /// it. Wiped after use, never shown.
    #[must_use]
    pub fn secret_input(mut self, secret: &SecretString, then: &[u8]) -> Self {
        let whole = Plaintext::concat(&[secret.expose_secret().as_bytes(), b"\n", then]);
        self.input = Some(Input::Secret(Arc::new(whole)));
        self
    }

    /// `run` fails when it prints more than this: for programs of other machines, which may print without end.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// `run` ends it after this time, and `converse` once it said nothing for this time; both fail then: for programs of
    /// other machines, which may never answer.
    #[must_use]
    pub fn at_longest(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// The same call with another program before it: `sudo -- program arguments…`.
    #[must_use]
    pub fn under(mut self, program: &str, options: &[&str]) -> Self {
        let inner = std::mem::replace(&mut self.program, program.into());
        let mut arguments: Vec<OsString> = options.iter().map(Into::into).collect();
        arguments.push(inner);
        arguments.append(&mut self.arguments);
        self.arguments = arguments;
        self
    }

    /// The program and its arguments, as a person would read them.
    pub fn shown(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    /// The program's name, without its path.
    pub fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

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

    /// Where it lies; none for a path, and for a call that says itself where programs are looked for.
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
        if let Some(limit) = OPEN_FILES.get() {
            // One that became root meanwhile keeps ours.
            let _not_ours = prlimit(Some(Pid::from_child(&child)), Resource::Nofile, *limit);
        }
        Ok(child)
    }

    /// Waits for its end.
    fn end_of(&self, child: &mut Child) -> Result<Ended> {
        child.wait().map(Ended::of).map_err(|error| Error::io(format!("cannot wait for {}", self.name()), error))
    }

    /// Fails where what it printed could not be read, or was more than the limit.
    fn held_to_limit(&self, read: std::io::Result<usize>) -> Result<()> {
        let printed = read.map_err(|error| Error::io(format!("cannot read what {} prints", self.name()), error))?;
        if printed as u64 > self.limit {
            return Err(Error::failed(format!("{} prints more than {} bytes", self.name(), self.limit)));
        }
        Ok(())
    }

    /// Runs it to its end and gathers what it printed.
    ///
    /// Fails only when it could not be started or spoken to; how it ended is in the output.
    pub fn run(&self) -> Result<Output> {
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.start(&mut command)?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (input, out, err, end) = (child.stdin.take(), child.stdout.take(), child.stderr.take(), End::of(&child));
        // Three pipes at once: a child that waits for one of them must not wait for us at another.
        let (read, late) = std::thread::scope(|scope| {
            scope.spawn(|| {
                if let (Some(pipe), Some(bytes)) = (input, &self.input) {
                    bytes.write(pipe);
                }
            });
            let running = &end;
            let late = self.patience.map(|patience| scope.spawn(move || running.within(patience)));
            let said = scope.spawn(|| err.map_or(Ok(()), |pipe| keep_end(end.reads(pipe), &mut stderr)));
            // The pipe is dropped at the limit, which ends a child that goes on printing.
            let printed =
                out.map_or(Ok(0), |pipe| end.reads(pipe).take(self.limit.saturating_add(1)).read_to_end(&mut stdout));
            let read = said.join().unwrap_or(Ok(())).and(printed);
            (read, late.is_some_and(|late| late.join().unwrap_or(false)))
        });
        let ended = self.end_of(&mut child)?;
        if let (true, Some(patience)) = (late, self.patience) {
            let message = format!("{}: no answer within {} s", self.name(), patience.as_secs());
            return Err(Error::new(Kind::Unreachable, message));
        }
        self.held_to_limit(read)?;
        Ok(Output { stdout, stderr, ended })
    }

    /// Runs it and returns what it printed.
    ///
    /// Fails when it cannot be started or does not end well; the error quotes the last lines it said.
    pub fn read(&self) -> Result<Vec<u8>> {
        let output = self.run()?;
        if output.ended.well() { Ok(output.stdout) } else { Err(self.failure(&output)) }
    }

    /// Runs it on our own streams, for a program that talks to the person; where it was given an input, that is its input.
    ///
    /// Fails only when it could not be started or waited for.
    pub fn attended(&self) -> Result<Ended> {
        let mut command = self.command()?;
        if self.input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = self.start(&mut command)?;
        if let (Some(pipe), Some(bytes)) = (child.stdin.take(), &self.input) {
            bytes.write(pipe);
        }
        self.end_of(&mut child)
    }

    /// With the user's own language settings, for a program that talks to a person; every other has C.UTF-8.
    #[must_use]
    pub fn locale(self, locale: Option<&OsString>) -> Self {
        match locale {
            Some(locale) => self.env("LC_ALL", locale),
            None => self.without_env("LC_ALL"),
        }
    }

    /// Runs it on these streams of a terminal, whatever our own are; without them, with no input, and its output where ours
    /// is told.
    pub fn on_terminal(&self, terminal: Option<[File; 3]>) -> Result<Ended> {
        let mut command = self.command()?;
        match terminal {
            Some([input, output, errors]) => command.stdin(input).stdout(output).stderr(errors),
            None => command.stdin(Stdio::null()).stdout(std::io::stderr()),
        };
        self.end_of(&mut self.start(&mut command)?)
    }

    /// Runs it on these streams of a terminal, and returns what it prints. Without them it has no input, and each line that it
    /// says is passed on.
    pub fn asking(&self, terminal: Option<[File; 3]>, said: impl Fn(&str) + Sync) -> Result<Output> {
        let mut command = self.command()?;
        match terminal {
            Some([input, _, errors]) => command.stdin(input).stderr(errors),
            None => command.stdin(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = self.start(command.stdout(Stdio::piped()))?;
        let (out, err, end) = (child.stdout.take(), child.stderr.take(), End::of(&child));
        let mut stdout = Vec::new();
        let read = std::thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(pipe) = err {
                    each_line(end.reads(pipe), &said);
                }
            });
            out.map_or(Ok(0), |pipe| end.reads(pipe).take(self.limit.saturating_add(1)).read_to_end(&mut stdout))
        });
        let ended = self.end_of(&mut child)?;
        self.held_to_limit(read)?;
        Ok(Output { stdout, stderr: Vec::new(), ended })
    }

    /// Gives it plaintext on its standard input and returns what it prints, as plaintext too. What it says goes where
    /// ours goes.
    pub fn exchange(&self, input: &Plaintext, limit: usize) -> Result<(Plaintext, Ended)> {
        let mut command = self.command()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = self.start(&mut command)?;
        let (pipe, out) = (child.stdin.take(), child.stdout.take());
        let answer = std::thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(mut pipe) = pipe {
                    // One that ended early does not read it; how it ended tells the rest.
                    let _ended_early = input.expose(|bytes| pipe.write_all(bytes));
                }
            });
            out.map(|pipe| Plaintext::read(pipe, input.len() + (64 << 10), limit))
        });
        let ended = self.end_of(&mut child)?;
        match answer {
            Some(Ok(answer)) => Ok((answer, ended)),
            Some(Err(error)) => Err(Error::io(format!("cannot read what {} prints", self.name()), error)),
            None => Err(Error::failed(format!("{} prints nothing", self.name()))),
        }
    }

    /// Runs it, passing on what it says line by line while it runs, and returns what it printed.
    pub fn watched(&self, mut line: impl FnMut(&str)) -> Result<Output> {
        let mut command = self.command()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start(&mut command)?;
        let (out, err, end) = (child.stdout.take(), child.stderr.take(), End::of(&child));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| out.map(|pipe| end.reads(pipe).read_to_end(&mut stdout)));
            if let Some(pipe) = err {
                each_line(end.reads(pipe), |text| {
                    line(text);
                    stderr.extend_from_slice(text.as_bytes());
                    stderr.push(b'\n');
                    cut(&mut stderr);
                });
            }
        });
        let ended = self.end_of(&mut child)?;
        Ok(Output { stdout, stderr, ended })
    }

    /// Gives it its input, passes on each line that it prints and each that it says, and waits for its end.
    ///
    /// Fails when it could not be started or waited for; `Unreachable` when it was ended for its silence.
    pub fn converse(&self, mut printed: impl FnMut(&str), said: impl Fn(&str) + Sync) -> Result<Ended> {
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.start(&mut command)?;
        let (input, out, err, end) = (child.stdin.take(), child.stdout.take(), child.stderr.take(), End::of(&child));
        let last = Mutex::new(Instant::now());
        let heard = || *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let late = std::thread::scope(|scope| {
            scope.spawn(|| {
                if let (Some(pipe), Some(bytes)) = (input, &self.input) {
                    bytes.write(pipe);
                }
            });
            let (running, last) = (&end, &last);
            let late = self.patience.map(|patience| scope.spawn(move || running.while_heard(patience, last)));
            scope.spawn(|| {
                if let Some(pipe) = err {
                    each_line(end.reads(pipe), |line| {
                        heard();
                        said(line);
                    });
                }
            });
            if let Some(pipe) = out {
                each_line(end.reads(pipe), |line| {
                    heard();
                    printed(line);
                });
            }
            late.is_some_and(|late| late.join().unwrap_or(false))
        });
        let ended = self.end_of(&mut child)?;
        match self.patience.filter(|_| late) {
            Some(patience) => {
                let message = format!("{}: nothing was heard for {} s", self.name(), patience.as_secs());
                Err(Error::new(Kind::Unreachable, message))
            }
            None => Ok(ended),
        }
    }

    /// Runs it with what it prints and says in a file in memory, and passes on each line. Unlike a pipe it takes what a program
    /// writes that outlives this process.
    ///
    /// Fails only when it could not be started or waited for.
    pub fn logged(&self, line: impl FnMut(&str)) -> Result<Ended> {
        let failed = |error: std::io::Error| Error::io(format!("cannot keep what {} prints", self.name()), error);
        let file =
            memfd_create("sealift-log", MemfdFlags::CLOEXEC).map(File::from).map_err(|error| failed(error.into()))?;
        // As a pipe would be: a switch starts programs of users too, and anyone who can look into one of those could open what
        // everybody may, read the log and write into it.
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

    /// Runs it with its input and its output at hand: `write` has the one, on a thread of its own, and `read` the other.
    /// What `read` leaves is not waited for: the program finds nobody who reads it, and ends.
    ///
    /// Fails only when it could not be started or waited for; what it printed is not in the output.
    pub fn piped<T>(
        &self,
        write: impl FnOnce(ChildStdin) + Send,
        read: impl FnOnce(&mut ChildStdout) -> T,
    ) -> Result<(T, Output)> {
        let mut command = self.command()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start(&mut command)?;
        let mut stderr = Vec::new();
        let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let result = std::thread::scope(|scope| {
            scope.spawn(|| input.map(write));
            scope.spawn(|| err.map_or(Ok(()), |pipe| keep_end(pipe, &mut stderr)));
            out.map(|mut pipe| read(&mut pipe))
        });
        let ended = self.end_of(&mut child)?;
        let result = result.ok_or_else(|| Error::failed(format!("{} has no output", self.name())))?;
        Ok((result, Output { stdout: Vec::new(), stderr, ended }))
    }

    /// Runs it without any of its streams, and ends it after this time.
    pub fn within(&self, limit: Duration) -> Result<()> {
        let ended = self.leaving(Stdio::null(), limit)?;
        if ended.well() { Ok(()) } else { Err(Error::failed(format!("{}: {ended}", self.name()))) }
    }

    /// Gives it its input and nothing to print to, and ends it after this time: no file of ours is open meanwhile. What it
    /// says goes to `said`; what it leaves in the background, with its streams, is not waited for. Its input is no more than
    /// a pipe holds.
    pub fn leaving(&self, said: impl Into<Stdio>, limit: Duration) -> Result<Ended> {
        let mut command = self.command()?;
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::null()).stderr(said);
        let mut child = self.start(&mut command)?;
        drop(command);
        if let (Some(pipe), Some(bytes)) = (child.stdin.take(), &self.input) {
            bytes.write(pipe);
        }
        let end = Instant::now().checked_add(limit);
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(Ended::of(status)),
                Ok(None) if end.is_none_or(|end| Instant::now() < end) => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    // It may have ended between the two.
                    let _ended = child.kill();
                    let _waited = child.wait();
                    return Err(Error::failed(format!("{} does not end within {} s", self.name(), limit.as_secs())));
                }
                Err(error) => return Err(Error::io(format!("cannot wait for {}", self.name()), error)),
            }
        }
    }

    /// Starts a program that prints what it reads, such as `cat`, and waits until it does. It gets the end of its input
    /// when what is returned is dropped, and also when this process is killed. What it says goes to `said`.
    ///
    /// Fails when it cannot be started or ends; `Unreachable` when it prints nothing of the kind in time.
    pub fn held(&self, said: impl Into<Stdio>, limit: Duration) -> Result<Held> {
        const WORD: &str = "sealift-is-here";
        let mut command = self.command()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said);
        let mut child = self.start(&mut command)?;
        let (mut input, out) = (child.stdin.take(), child.stdout.take());
        if let Some(pipe) = &mut input {
            // One that has ended prints nothing either.
            let _ended_early = pipe.write_all(format!("{WORD}\n").as_bytes()).and_then(|()| pipe.flush());
        }
        let (heard, answer) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            if let Some(pipe) = out {
                // To its end: a child that greets without end must not wait for us.
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

    /// What to say when it did not end well.
    pub fn failure(&self, output: &Output) -> Error {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let quoted = |line: &&str| QUOTE.get().map_or_else(|| (*line).to_owned(), |quote| quote(line));
        let last: Vec<String> = last[last.len().saturating_sub(6)..].iter().map(quoted).collect();
        let last = last.join("\n");
        let error = Error::new(Kind::Failed, format!("{} failed ({})", self.name(), output.ended));
        if last.is_empty() { error } else { error.because(last) }
    }
}

/// A program that runs as long as this is kept.
pub struct Held {
    child: Child,
    input: Option<ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Whether a process that this one started, or that was left to it, is at work still. None may be waited for elsewhere.
pub fn leaves_children() -> bool {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some(_ended)) => {}
            Ok(None) => return true,
            Err(_none) => return false,
        }
    }
}

/// Leaves the terminal's session: what happens to the terminal, or to the process that started this one, no longer ends
/// this one.
pub fn leave_session() {
    // Fails only where this process leads a group already, as under a service manager: then nobody's terminal ends it.
    let _leads_already = rustix::process::setsid();
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
