//! The user's OpenSSH, as a program: ssh_config, agent and jump hosts all count. Who we talk to is decided here: every
//! connection to a host of the fleet is held against its pinned key, and so is every host of the fleet on the way.
//!
//! Each machine has one connection that carries all calls. It is a process of its own, in the background, so that Ctrl-C
//! does not end it, and costs us no open file; it ends when it is told to, or a minute after nobody knocked any more. Its
//! first call is a greeting, which shows what else the login shell says and does. Behind jump hosts it goes through their
//! connections, made the same way: ssh hands none of our options on to a jump host.

mod failure;
pub mod first_contact;
mod greeting;
mod mux;
pub mod options;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::adapters::fs::files;
use crate::adapters::nix;
use crate::adapters::process::{Ended, Invocation, Output};
use crate::adapters::ssh::failure::Expected;
use crate::adapters::ssh::greeting::Greeting;
use crate::adapters::ssh::options::{Known, Pins};
use crate::adapters::ssh::route::{Fleet, Place};
use crate::adapters::terminal::Terminal;
use crate::domain::address::{Address, quoted};
use crate::domain::name::HostName;
use crate::domain::policy::Host;
use crate::error::{Error, Kind, Result};

/// How the names of our folders begin.
const PREFIX: &str = "sealift-ssh-";
/// A socket's path has at most 107 bytes, of which ssh takes 17 for a temporary name, and we a few for ours.
const ROOM: usize = 80;
/// How long a connection without any call stays.
const IDLE: &str = "ControlPersist=60";
/// How often we knock at those that are ours, so that they stay: well before that time is over.
const KNOCKING: Duration = Duration::from_secs(15);
/// How long one may take to come about where nobody is asked: several addresses, one after the other.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long a login shell may take to start its first program.
const GREETING: Duration = Duration::from_secs(30);
/// How much a call may print.
const PRINTED: u64 = 32 << 20;
/// How much of what ssh says is read.
const SAID: u64 = 1 << 20;

/// Connections to the hosts of a fleet.
pub struct Ssh {
    shared: Arc<Shared>,
    fleet: Fleet,
    /// Jump hosts, each reached once. Locked one by one: a slow one keeps nobody from another.
    hops: Mutex<BTreeMap<String, Arc<Mutex<Hop>>>>,
}

/// How far we are with a jump host.
#[derive(Default)]
enum Hop {
    #[default]
    Untried,
    Open(Arc<Link>),
    /// Why not: for everybody who is behind it.
    Failed(Error),
}

/// What all connections have in common.
struct Shared {
    folder: PathBuf,
    /// Locked as long as we live: others remove the folder of who is gone.
    _alive: OwnedFd,
    known: Known,
    count: AtomicU32,
    /// One question at a time.
    asking: Mutex<()>,
    /// The sockets of connections that should stay.
    open: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// Ends the knocking when it goes.
    _knocks: Sender<()>,
}

impl Shared {
    fn new(runtime: Option<&Path>) -> Result<Self> {
        let known = Known::ask()?;
        let plain = |path: &&Path| {
            let text = path.to_str().unwrap_or(" ");
            path.is_absolute()
                && is_ours(path)
                && text.len() + PREFIX.len() + 17 <= ROOM
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
        };
        let above = runtime.filter(plain).unwrap_or(Path::new("/tmp"));
        sweep(above);
        let folder = above.join(format!("{PREFIX}{}", files::token()?));
        make_folder(&folder)?;
        let alive = files::directory(&folder)?;
        flock(&alive, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::io(format!("cannot lock {}", folder.display()), error))?;
        let open = Arc::default();
        let knocks = knock(Arc::clone(&open));
        let (count, asking) = (AtomicU32::new(0), Mutex::default());
        Ok(Self { folder, _alive: alive, known, count, asking, open, _knocks: knocks })
    }

    /// A path in the folder that nothing else has.
    fn path(&self) -> PathBuf {
        self.folder.join(self.count.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What is left holds no secret, and the next run tries again.
        let _left = std::fs::remove_dir_all(&self.folder);
    }
}

/// Knocks at these sockets from time to time, until what is returned goes. Nothing goes over the network.
fn knock(open: Arc<Mutex<BTreeSet<PathBuf>>>) -> Sender<()> {
    let (ours, theirs) = channel();
    std::thread::spawn(move || {
        while theirs.recv_timeout(KNOCKING) == Err(RecvTimeoutError::Timeout) {
            locked(&open).iter().for_each(|socket| mux::knock(socket));
        }
    });
    ours
}

/// Makes a folder for nobody but us, which must not be there yet: in /tmp anybody could have made it.
fn make_folder(path: &Path) -> Result<()> {
    rustix::fs::mkdir(path, rustix::fs::Mode::RWXU)
        .map_err(|error| Error::io(format!("cannot make {}", path.display()), error))
}

/// Whether a directory is our own: that of another user, which `sudo -E` leaves us, could be exchanged below us, and with
/// it the connection.
fn is_ours(path: &Path) -> bool {
    let ours = |is: &std::fs::Metadata| is.is_dir() && is.uid() == rustix::process::geteuid().as_raw();
    path.metadata().is_ok_and(|is| ours(&is) && is.mode() & 0o022 == 0)
}

/// Removes what killed runs left.
fn sweep(above: &Path) {
    for entry in std::fs::read_dir(above).into_iter().flatten().flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // In /tmp others may have made one.
        let ours = named && is_ours(&entry.path());
        // One that is just being made is not locked yet.
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if ours && age().is_some_and(|age| age > Duration::from_secs(60)) {
            let free = |folder: &OwnedFd| flock(folder, FlockOperation::NonBlockingLockExclusive).is_ok();
            if files::directory(&entry.path()).is_ok_and(|folder| free(&folder)) {
                let _left = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ssh {
    /// For the hosts of this fleet. Sockets are made below `runtime`, if its path suits sockets, else below /tmp.
    pub fn new(runtime: Option<&Path>, fleet: &BTreeMap<HostName, Host>) -> Result<Self> {
        let hosts = fleet.iter().map(|(name, host)| (name.clone(), host.address.clone(), host.ssh_keys.clone()));
        Ok(Self { shared: Arc::new(Shared::new(runtime)?), fleet: Fleet::new(hosts), hops: Mutex::default() })
    }

    /// Connects to a host, which must show one of these keys. Nothing is sent before it has. A person who is there is
    /// asked for a password or passphrase where ssh needs one; one host at a time asks.
    ///
    /// Fails with `Unreachable`, with the reason, and with the jump host where it failed there.
    pub fn connect(&self, host: &HostName, address: &Address, pins: &[String]) -> Result<Connection> {
        let pins = Pins::new(host, pins)?;
        let mut link = Link::new(&self.shared, host.to_string(), address, Some(pins))?;
        link.over = self.way(&link.place).map_err(|error| error.about(host))?;
        let greeting = link.open(|batch| link.begin(batch))?;
        Ok(Connection { link, greeting })
    }

    /// The last jump host before a place, connected; none where ssh goes there directly.
    fn way(&self, place: &Place) -> Result<Option<Arc<Link>>> {
        let mut over: Option<Arc<Link>> = None;
        let mut key = String::new();
        for address in route::jumps(place)? {
            key = format!("{key},{address}");
            let hop = Arc::clone(locked(&self.hops).entry(key.clone()).or_default());
            let mut hop = locked(&hop);
            if matches!(*hop, Hop::Untried) {
                *hop = match self.jump(&address, over.take()) {
                    Ok(link) => Hop::Open(Arc::new(link)),
                    Err(error) => Hop::Failed(error.of_kind(Kind::Unreachable)),
                };
            }
            match &*hop {
                Hop::Open(link) => over = Some(Arc::clone(link)),
                Hop::Failed(error) => return Err(error.clone()),
                Hop::Untried => {}
            }
        }
        Ok(over)
    }

    /// Connects to a jump host. One of the fleet must show its pinned key; any other is the user's own affair.
    fn jump(&self, address: &Address, over: Option<Arc<Link>>) -> Result<Link> {
        let pins = match self.fleet.find(address)? {
            Some((host, pins)) => Some(Pins::new(host, pins).map_err(|error| error.about("jump host"))?),
            None => None,
        };
        let mut link = Link::new(&self.shared, format!("jump host {}", address.host), address, pins)?;
        link.over = over;
        link.open(|batch| link.carry(batch))?;
        Ok(link)
    }
}

/// Whether ssh may ask a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
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

    /// How long it may take. A person takes as long as they like.
    fn patience(self) -> Duration {
        match self {
            Batch::Yes => PATIENCE,
            Batch::No => Duration::MAX,
        }
    }
}

/// One machine that is talked to, and the background connection to it.
struct Link {
    shared: Arc<Shared>,
    /// As it is called in messages.
    label: String,
    address: Address,
    place: Place,
    /// None: the user's known_hosts decides.
    pins: Option<Pins>,
    /// The options that make it so.
    trust: Vec<String>,
    control: PathBuf,
    over: Option<Arc<Link>>,
}

impl Link {
    fn new(shared: &Arc<Shared>, label: String, address: &Address, pins: Option<Pins>) -> Result<Self> {
        let place = Place::of(address)?;
        let trust = match &pins {
            Some(pins) => {
                let file = shared.path();
                files::create(&file, pins.known_hosts().as_bytes(), 0o600)?;
                pins.options(&file, &shared.known)
            }
            None => Vec::new(),
        };
        let (shared, control) = (Arc::clone(shared), shared.path());
        Ok(Self { shared, label, address: address.clone(), place, pins, trust, control, over: None })
    }

    /// A call of ssh: with these options, those that say who the other side must be, and how it is reached.
    fn ssh(&self, own: &[String], trust: &[String], general: Vec<String>, flags: &[&str]) -> Invocation {
        let way = self
            .over
            .iter()
            .flat_map(|over| [format!("ProxyCommand={}", over.carries()), "ProxyUseFdpass=no".to_owned()]);
        let all = own.iter().cloned().chain(trust.iter().cloned()).chain(way).chain(general);
        let words = all.flat_map(|option| ["-o".to_owned(), option]);
        Invocation::new("ssh").args(words).args(flags).args(route::destination(&self.address)).at_most(PRINTED)
    }

    /// The command by which ssh reaches the next machine over this one. ssh gives it to the user's shell, whichever that
    /// is: nothing in it needs quotes but the brackets. It makes no connection of its own, whatever happens to ours.
    fn carries(&self) -> String {
        format!(
            "ssh -oControlMaster=no -oControlPath={} {} -oProxyCommand=false -oBatchMode=yes -oLogLevel=ERROR -oClearAllForwardings=yes -W '[%h]:%p' -- sealift-jump",
            self.control.display(),
            options::of_carrier(&self.shared.known).join(" ")
        )
    }

    fn control(&self, master: &str) -> Vec<String> {
        vec![format!("ControlMaster={master}"), format!("ControlPath={}", self.control.display())]
    }

    /// A call over the connection.
    fn call(&self, words: &[&str]) -> Invocation {
        let own = [self.control("no"), vec!["BatchMode=yes".to_owned()]].concat();
        self.running(&own, words)
    }

    /// A call over a connection of its own. What goes over it may be known to anybody.
    fn anew(&self, words: &[&str]) -> Invocation {
        let own = ["ControlMaster=no", "ControlPath=none", "BatchMode=yes"].map(str::to_owned);
        self.running(&own.into_iter().chain(self.place.quick_exchange()).collect::<Vec<_>>(), words)
    }

    fn running(&self, own: &[String], words: &[&str]) -> Invocation {
        let call = self.ssh(own, &self.trust, options::of_call(&self.shared.known), &["-T"]);
        call.args(words.iter().map(|word| quoted(word)))
    }

    /// Makes the connection, by an attempt that says what ssh says if it cannot.
    fn open<T>(&self, attempt: impl Fn(Batch) -> Result<Result<T, String>>) -> Result<T> {
        let said = match attempt(Batch::Yes)? {
            Ok(done) => return Ok(done),
            Err(said) => said,
        };
        // The key of a jump host that is not ours may also be a matter of a question.
        let askable = failure::is_denied(&said) || (self.pins.is_none() && failure::is_stranger(&said));
        if askable && Terminal::open().is_some() {
            let _one_at_a_time = locked(&self.shared.asking);
            return attempt(Batch::No)?.map_err(|said| self.error(&said));
        }
        Err(self.error(&said))
    }

    fn background(&self, batch: Batch) -> Vec<String> {
        [self.control("yes"), vec![IDLE.to_owned(), batch.option().to_owned()]].concat()
    }

    /// Makes a connection that only carries others.
    fn carry(&self, batch: Batch) -> Result<Result<(), String>> {
        let general = options::of_master(&self.shared.known);
        let call = self.ssh(&self.background(batch), &self.trust, general, &["-T", "-N"]);
        let (ended, said) = self.listen(|file| call.leaving(file, batch.patience()))?;
        if ended.map_err(|error| self.late(&error))?.well() {
            self.stays();
            return Ok(Ok(()));
        }
        Ok(Err(said))
    }

    /// Makes a connection, and has the login shell run a program that greets.
    fn begin(&self, batch: Batch) -> Result<Result<Greeting, String>> {
        let call = self.running(&self.background(batch), &["/bin/sh", "-c", greeting::SCRIPT]).at_most(greeting::LIMIT);
        let call = match batch {
            Batch::Yes => call.at_longest(PATIENCE + GREETING),
            Batch::No => call,
        };
        let output = match call.run() {
            Ok(output) => output,
            Err(error) if error.kind() == Kind::Unreachable => return Err(self.late(&error)),
            // It prints without end.
            Err(error) => return Err(error.about(&self.label)),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        match Greeting::read(&String::from_utf8_lossy(&output.stdout)) {
            Some(greeting) => {
                self.stays();
                Ok(Ok(greeting))
            }
            // The connection outlives a shell that ends at once.
            None if self.alive() => Err(self.no_shell(&output)),
            None => Ok(Err(said.into_owned())),
        }
    }

    /// From now on it does not end for want of calls.
    fn stays(&self) {
        locked(&self.shared.open).insert(self.control.clone());
    }

    /// Runs ssh with what it says in a file: the connection that it leaves behind may keep a pipe open.
    fn listen<T>(&self, run: impl FnOnce(File) -> T) -> Result<(T, String)> {
        let path = self.shared.path();
        files::create(&path, b"", 0o600)?;
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::APPEND | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
            .map_err(|error| Error::io(format!("cannot open {}", path.display()), error))?;
        let ended = run(File::from(file));
        let said = files::read(&path, SAID).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        files::remove(&path)?;
        Ok((ended, said.unwrap_or_default()))
    }

    fn late(&self, error: &Error) -> Error {
        Error::new(Kind::Unreachable, format!("{}: {} does not complete the login in time", self.label, self.shown()))
            .because(error.in_one_line())
            .help(format!("try it by hand: `ssh {}`", self.shown()))
    }

    fn alive(&self) -> bool {
        mux::is_alive(&self.control)
    }

    /// Makes the connection again if it is gone, and those before it.
    fn revive(&self) -> Result<()> {
        if let Some(over) = &self.over {
            over.revive()?;
        }
        if self.alive() { Ok(()) } else { self.carry(Batch::Yes).map(drop) }
    }

    /// Where it is, as a person would type it.
    fn shown(&self) -> String {
        let port = if self.place.port == "22" { String::new() } else { format!(" port {}", self.place.port) };
        format!("{}@{}{port}", self.place.user, self.place.name)
    }

    /// What ssh said, as an error.
    fn error(&self, said: &str) -> Error {
        let shown = failure::shown_key(said).or_else(|| {
            // It shows none of the pinned types: what it does show is asked for by itself, and still not believed.
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

    /// The fingerprint of whatever key the machine shows; it ends there, as nothing is trusted.
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
        let call = self.ssh(&own, &trust, options::of_call(&self.shared.known), &["-T"]).arg("true");
        let (_ended, said) = self.listen(|file| call.leaving(file, PATIENCE)).ok()?;
        failure::shown_key(&said)
    }

    /// Why a program could not be run there although the connection stands.
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
        locked(&self.shared.open).remove(&self.control);
        mux::end(&self.control);
    }
}

/// A host that has proven who it is, and the connection to it.
pub struct Connection {
    link: Link,
    greeting: Greeting,
}

impl Connection {
    /// A call of a program there. The words reach it as they are, whatever the login shell.
    pub fn call(&self, words: &[&str]) -> Invocation {
        self.link.call(words)
    }

    /// The same over a new connection, which proves that the host still takes one. Nobody is asked for anything.
    pub fn anew(&self, words: &[&str]) -> Invocation {
        if let Some(over) = &self.link.over {
            // If that fails the call tells.
            let _revived = over.revive();
        }
        self.link.anew(words)
    }

    /// Whether nix can copy over it.
    pub fn takes_copies(&self) -> Result<()> {
        self.greeting.takes_copies(&self.link.label, &self.link.place.user)
    }

    /// The host's store, for nix.
    pub fn store(&self) -> nix::Remote {
        let link = &self.link;
        let own = [link.control("no"), vec!["BatchMode=yes".to_owned()]].concat();
        // nix splits at blanks: without the connection there is no way over a jump host.
        let way = link.over.iter().map(|_| "ProxyCommand=false".to_owned());
        let all =
            own.into_iter().chain(link.trust.iter().cloned()).chain(way).chain(options::of_nix(&link.shared.known));
        let mut words: Vec<String> = all.map(|option| format!("-o{option}")).collect();
        words.extend(link.address.user.iter().map(|user| format!("-l{user}")));
        words.extend(link.address.port.iter().map(|port| format!("-p{port}")));
        // Not every nix understands an IPv6 address in a URL.
        let host = if link.address.host.contains(':') {
            words.push(format!("-oHostName={}", link.address.host.replace('%', "%%")));
            link.pins.as_ref().map_or("sealift", Pins::alias)
        } else {
            &link.address.host
        };
        let program = self.greeting.program();
        nix::Remote { uri: format!("ssh-ng://{host}{program}"), options: words.join(" ") }
    }

    pub fn alive(&self) -> bool {
        self.link.alive()
    }

    /// Whether a call that ended so was cut off. ssh has the same exit code for a remote program that a signal ended.
    pub fn lost(&self, ended: Ended) -> bool {
        ended == Ended::Code(failure::OWN) && !self.alive()
    }

    /// What a call's failure means: ssh's own, by its reason, or the remote program's.
    pub fn failure(&self, output: &Output) -> Error {
        self.failed(output.ended, &String::from_utf8_lossy(&output.stderr))
    }

    /// The same from how it ended and what it said.
    pub fn failed(&self, ended: Ended, said: &str) -> Error {
        if ended == Ended::Code(failure::OWN) && (failure::is_own(said) || !self.alive()) {
            return self.link.error(said);
        }
        let error = Error::failed(format!("{}: the program there failed ({ended})", self.link.label));
        let last = failure::last_lines(said);
        if last.is_empty() { error } else { error.because(last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_suits_sockets_and_is_gone_afterwards() {
        let place = tempfile::tempdir().unwrap();
        let (blank, long) = (place.path().join("a b"), place.path().join("x".repeat(60)));
        for (given, used) in [(place.path(), place.path()), (&blank, Path::new("/tmp")), (&long, Path::new("/tmp"))] {
            std::fs::create_dir_all(given).unwrap();
            let shared = Shared::new(Some(given)).unwrap();
            assert_eq!(shared.folder.parent(), Some(used));
            assert!(shared.path() != shared.path());
            assert_eq!(rustix::fs::stat(&shared.folder).unwrap().st_mode & 0o777, 0o700);
            let folder = shared.folder.clone();
            drop(shared);
            assert!(!folder.exists());
        }
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_lives_is_not() {
        let place = tempfile::tempdir().unwrap();
        let living = Shared::new(Some(place.path())).unwrap();
        let old = place.path().join(format!("{PREFIX}old"));
        std::fs::create_dir(&old).unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        for folder in [&old, &living.folder] {
            File::open(folder).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(place.path());
        assert!(!old.exists() && living.folder.exists());
    }

    #[test]
    fn a_folder_that_others_can_change_is_neither_used_nor_swept() {
        let place = tempfile::tempdir().unwrap();
        let open = place.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert_eq!(Shared::new(Some(&open)).unwrap().folder.parent(), Some(Path::new("/tmp")));
        // Only root can give it to another user.
        if std::os::unix::fs::chown(&open, Some(1234), None).is_ok() {
            std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            assert_eq!(Shared::new(Some(&open)).unwrap().folder.parent(), Some(Path::new("/tmp")));
            let old = place.path().join(format!("{PREFIX}old"));
            std::fs::create_dir(&old).unwrap();
            let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
            File::open(&old).unwrap().set_modified(long_ago).unwrap();
            std::os::unix::fs::chown(&old, Some(1234), None).unwrap();
            sweep(place.path());
            assert!(old.exists());
        }
    }
}
