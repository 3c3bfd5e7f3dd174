//! One remote machine, and the background connection to it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::adapters::fs::files;
use crate::adapters::process::{Invocation, Output};
use crate::adapters::ssh::failure::{self, Expected};
use crate::adapters::ssh::greeting::{self, Greeting};
use crate::adapters::ssh::mux;
use crate::adapters::ssh::options::{self, Pins};
use crate::adapters::ssh::route::{self, Endpoint};
use crate::adapters::ssh::sockets::{Sockets, locked};
use crate::adapters::terminal::Terminal;
use crate::domain::address::{Address, quoted};
use crate::error::{Error, Kind, Result};

/// How long a connection stays open without calls.
const IDLE: &str = "ControlPersist=60";
/// How long connecting may take when the user is not asked: ssh may try several addresses in turn.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// How long a login shell may take to start the first program.
const GREETING: Duration = Duration::from_secs(30);
/// The maximum output of a call, in bytes.
const PRINTED: u64 = 32 << 20;
/// How many bytes of ssh's messages are read.
const SAID: u64 = 1 << 20;

/// Whether ssh runs without asking the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    Yes,
    No,
}

impl Batch {
    fn option(self) -> &'static str {
        match self {
            Batch::Yes => "BatchMode=yes",
            Batch::No => "BatchMode=no",
        }
    }

    /// The time limit; none while the user may be asked.
    fn patience(self) -> Duration {
        match self {
            Batch::Yes => PATIENCE,
            Batch::No => Duration::MAX,
        }
    }
}

/// One remote machine, and the background connection to it.
pub struct Link {
    pub sockets: Arc<Sockets>,
    /// Its name in messages.
    pub label: String,
    pub address: Address,
    pub place: Endpoint,
    /// `None`: the user's known_hosts decides.
    pub pins: Option<Pins>,
    /// The ssh options that enforce the pins.
    pub trust: Vec<String>,
    control: PathBuf,
    pub over: Option<Arc<Link>>,
}

impl Link {
    pub fn new(sockets: &Arc<Sockets>, label: String, address: &Address, pins: Option<Pins>) -> Result<Self> {
        let place = Endpoint::of(address)?;
        let trust = match &pins {
            Some(pins) => {
                let file = sockets.path();
                files::create(&file, pins.known_hosts().as_bytes(), 0o600)?;
                pins.options(&file, &sockets.known)
            }
            None => Vec::new(),
        };
        let (sockets, control) = (Arc::clone(sockets), sockets.path());
        Ok(Self { sockets, label, address: address.clone(), place, pins, trust, control, over: None })
    }

    /// An ssh call with its own options, those that define whom to trust, and those for the route.
    pub fn ssh(&self, own: &[String], trust: &[String], general: Vec<String>, flags: &[&str]) -> Invocation {
        let way = self
            .over
            .iter()
            .flat_map(|over| [format!("ProxyCommand={}", over.carries()), "ProxyUseFdpass=no".to_owned()]);
        let all = own.iter().cloned().chain(trust.iter().cloned()).chain(way).chain(general);
        let words = all.flat_map(|option| ["-o".to_owned(), option]);
        Invocation::new("ssh").args(words).args(flags).args(route::destination(&self.address)).at_most(PRINTED)
    }

    /// The command by which ssh reaches the next machine through this one. ssh passes it to the user's shell, whichever
    /// that is, so nothing in it but the brackets needs quotes. It never opens a connection itself, even if ours is gone.
    fn carries(&self) -> String {
        format!(
            "ssh -oControlMaster=no -oControlPath={} {} -oProxyCommand=false -oBatchMode=yes -oLogLevel=ERROR -oClearAllForwardings=yes -W '[%h]:%p' -- sealift-jump",
            self.control.display(),
            options::of_carrier(&self.sockets.known).join(" ")
        )
    }

    pub fn control(&self, master: &str) -> Vec<String> {
        vec![format!("ControlMaster={master}"), format!("ControlPath={}", self.control.display())]
    }

    /// A call over the shared connection.
    pub fn call(&self, words: &[&str]) -> Invocation {
        let own = [self.control("no"), vec!["BatchMode=yes".to_owned()]].concat();
        self.running(&own, words)
    }

    /// A call over its own connection. What it transfers must not be secret.
    pub fn unshared(&self, words: &[&str]) -> Invocation {
        let own = ["ControlMaster=no", "ControlPath=none", "BatchMode=yes"].map(str::to_owned);
        self.running(&own.into_iter().chain(self.place.quick_exchange()).collect::<Vec<_>>(), words)
    }

    fn running(&self, own: &[String], words: &[&str]) -> Invocation {
        let call = self.ssh(own, &self.trust, options::of_call(&self.sockets.known), &["-T"]);
        call.args(words.iter().map(|word| quoted(word)))
    }

    /// Opens the connection with `attempt`, which returns ssh's messages if it cannot.
    pub fn open<T>(&self, attempt: impl Fn(Batch) -> Result<Result<T, String>>) -> Result<T> {
        let said = match attempt(Batch::Yes)? {
            Ok(done) => return Ok(done),
            Err(said) => said,
        };
        // For a jump host outside the fleet, ssh may also ask about the host key.
        let askable = failure::is_denied(&said) || (self.pins.is_none() && failure::is_stranger(&said));
        if askable && Terminal::open().is_some() {
            let _one_at_a_time = locked(&self.sockets.asking);
            return attempt(Batch::No)?.map_err(|said| self.error(&said));
        }
        Err(self.error(&said))
    }

    fn background(&self, batch: Batch) -> Vec<String> {
        [self.control("yes"), vec![IDLE.to_owned(), batch.option().to_owned()]].concat()
    }

    /// Opens a connection that only forwards others.
    pub fn carry(&self, batch: Batch) -> Result<Result<(), String>> {
        let general = options::of_master(&self.sockets.known);
        let call = self.ssh(&self.background(batch), &self.trust, general, &["-T", "-N"]);
        let (ended, said) = self.listen(|file| call.leaving(file, batch.patience()))?;
        if ended.map_err(|error| self.late(&error))?.success() {
            self.sockets.stays(&self.control);
            return Ok(Ok(()));
        }
        Ok(Err(said))
    }

    /// Opens a connection and runs the greeting in the login shell.
    pub fn begin(&self, batch: Batch) -> Result<Result<Greeting, String>> {
        let call = self.running(&self.background(batch), &["/bin/sh", "-c", greeting::SCRIPT]).at_most(greeting::LIMIT);
        let call = match batch {
            Batch::Yes => call.at_longest(PATIENCE + GREETING),
            Batch::No => call,
        };
        let output = match call.run() {
            Ok(output) => output,
            Err(error) if error.kind() == Kind::Unreachable => return Err(self.late(&error)),
            // It exceeded the output limit.
            Err(error) => return Err(error.about(&self.label)),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        match Greeting::read(&String::from_utf8_lossy(&output.stdout)) {
            Some(greeting) => {
                self.sockets.stays(&self.control);
                Ok(Ok(greeting))
            }
            // The connection outlives a shell that exits at once.
            None if self.alive() => Err(self.no_shell(&output)),
            None => Ok(Err(said.into_owned())),
        }
    }

    /// Runs ssh with stderr in a file: the background connection may keep a pipe open.
    pub fn listen<T>(&self, run: impl FnOnce(File) -> T) -> Result<(T, String)> {
        let path = self.sockets.path();
        files::create(&path, b"", 0o600)?;
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::APPEND | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
            .map_err(|error| Error::io(format!("cannot open {}", path.display()), error))?;
        let ended = run(File::from(file));
        let said = files::read(&path, SAID).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        files::remove(&path)?;
        Ok((ended, said.unwrap_or_default()))
    }

    pub fn late(&self, error: &Error) -> Error {
        Error::new(Kind::Unreachable, format!("{}: {} does not complete the login in time", self.label, self.shown()))
            .because(error.in_one_line())
            .help(format!("try it by hand: `ssh {}`", self.shown()))
    }

    pub fn alive(&self) -> bool {
        mux::is_alive(&self.control)
    }

    /// Reopens the connection if it is gone, after those that it goes through.
    pub fn revive(&self) -> Result<()> {
        if let Some(over) = &self.over {
            over.revive()?;
        }
        if self.alive() { Ok(()) } else { self.carry(Batch::Yes).map(drop) }
    }

    /// Its address, as a user would type it.
    pub fn shown(&self) -> String {
        let port = if self.place.port == "22" { String::new() } else { format!(" port {}", self.place.port) };
        format!("{}@{}{port}", self.place.user, self.place.name)
    }

    /// Makes an error from ssh's messages.
    pub fn error(&self, said: &str) -> Error {
        let shown = failure::shown_key(said).or_else(|| {
            // It presented no key of a pinned type: find out which key it has, still without trusting it.
            (self.pins.is_some() && failure::is_stranger(said)).then(|| self.look()).flatten()
        });
        let pinned = self.pins.as_ref().map_or_else(Vec::new, Pins::fingerprints);
        let host = self.pins.as_ref().map_or(self.address.host.as_str(), Pins::host);
        let expected = Expected {
            label: &self.label,
            place: &self.shown(),
            pinned: &pinned,
            host,
            address: &self.address.host,
            over: self.over.as_deref().map(|over| over.label.as_str()),
        };
        failure::error(&expected, said, shown.as_deref())
    }

    /// The fingerprint of any key that the machine presents; ssh stops there, as no key is trusted.
    fn look(&self) -> Option<String> {
        let own = [
            "ControlMaster=no",
            "ControlPath=none",
            "BatchMode=yes",
            "LogLevel=DEBUG1",
            "PreferredAuthentications=none",
        ];
        let trust: Vec<_> =
            self.trust.iter().filter(|option| !option.starts_with("HostKeyAlgorithms=")).cloned().collect();
        let own = own.map(str::to_owned);
        let call = self.ssh(&own, &trust, options::of_call(&self.sockets.known), &["-T"]).arg("true");
        let (_ended, said) = self.listen(|file| call.leaving(file, PATIENCE)).ok()?;
        failure::shown_key(&said)
    }

    /// Why no program could be run although the connection is up.
    fn no_shell(&self, output: &Output) -> Error {
        let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said)).join("\n");
        let said = failure::last_lines(&said);
        let message = format!("{}: the login shell of {} runs no programs", self.label, self.shown());
        let error = Error::new(Kind::Unreachable, message)
            .help("give the user a login shell, and no `command=` in authorized_keys");
        if said.is_empty() { error } else { error.because(said) }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.sockets.end(&self.control);
    }
}
