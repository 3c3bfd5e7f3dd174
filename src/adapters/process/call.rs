//! A program call as data (arguments, environment, input) and the output of a finished one. Nothing is started here.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ExitStatus};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Kind, Result};

type Quote = Box<dyn Fn(&str) -> String + Send + Sync>;
/// How errors quote a line of a program's stderr; unchanged until `quote_as` sets it.
static QUOTE: OnceLock<Quote> = OnceLock::new();

/// Sets how errors quote lines of a program's stderr.
pub fn quote_as(quote: impl Fn(&str) -> String + Send + Sync + 'static) {
    // Set once per run.
    let _set_before = QUOTE.set(Box::new(quote));
}

#[derive(Clone, Debug)]
pub struct Invocation {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) without: Vec<OsString>,
    pub(super) directory: Option<PathBuf>,
    pub(super) input: Option<Input>,
    pub(super) limit: u64,
    pub(super) patience: Option<Duration>,
    pub(super) user: Option<(u32, u32)>,
}

/// What a program gets on its standard input.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Plain(Vec<u8>),
    /// Shared, so that cloning the call does not copy the secret.
    Secret(Arc<Plaintext>),
}

impl Input {
    pub(super) fn write(&self, mut pipe: ChildStdin) {
        match self {
            // A child that does not read its input closes the pipe; its exit code says the rest.
            Input::Plain(bytes) => drop(pipe.write_all(bytes)),
            Input::Secret(secret) => give_secret(pipe, secret),
        }
    }
}

pub(super) fn give_secret(mut pipe: ChildStdin, secret: &Plaintext) {
    // As in `Input::write`, a closed pipe is no error here.
    let _ended_early = secret.expose(|bytes| pipe.write_all(bytes));
}

#[derive(Debug)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub ended: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

impl Ended {
    pub fn success(self) -> bool {
        self == Ended::Code(0)
    }

    pub(super) fn of(status: ExitStatus) -> Self {
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

    /// Runs the program with this uid and gid, no supplementary groups and an empty environment.
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

    /// Sets the program's standard input, which is empty by default.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(Input::Plain(bytes.into()));
        self
    }

    /// Sets the standard input to a line with a secret, such as the password that `sudo -S` reads, followed by these
    /// bytes. Wiped after use, never shown.
    #[must_use]
    pub fn secret_input(mut self, secret: &SecretString, then: &[u8]) -> Self {
        let whole = Plaintext::concat(&[secret.expose_secret().as_bytes(), b"\n", then]);
        self.input = Some(Input::Secret(Arc::new(whole)));
        self
    }

    /// Makes `run` fail if the program prints more than this: programs on other machines may print without end.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Kills the program after this time (`run`), or after this time without output (`converse`); both then fail. For
    /// programs on other machines, which may never answer.
    #[must_use]
    pub fn at_longest(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Prefixes the call with another program: `sudo -- program arguments…`.
    #[must_use]
    pub fn under(mut self, program: &str, options: &[&str]) -> Self {
        let inner = std::mem::replace(&mut self.program, program.into());
        let mut arguments: Vec<OsString> = options.iter().map(Into::into).collect();
        arguments.push(inner);
        arguments.append(&mut self.arguments);
        self.arguments = arguments;
        self
    }

    /// The program and its arguments, for display.
    pub fn shown(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    /// The program's name, without its path.
    pub fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    /// Uses the user's own locale, for a program that talks to the user; all others get C.UTF-8.
    #[must_use]
    pub fn locale(self, locale: Option<&OsString>) -> Self {
        match locale {
            Some(locale) => self.env("LC_ALL", locale),
            None => self.without_env("LC_ALL"),
        }
    }

    /// Returns stdout if the program exited with code 0.
    pub fn success(&self, output: Output) -> Result<Vec<u8>> {
        if output.ended.success() { Ok(output.stdout) } else { Err(self.failure(&output)) }
    }

    /// The error for a program that failed; it quotes the last lines of stderr.
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
