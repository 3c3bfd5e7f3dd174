//! The user's OpenSSH, run as a program: ssh_config, agent and jump hosts apply. Whom to trust is decided here: every
//! connection to a host of the fleet is checked against its pinned key, and so is every fleet host used as a jump host.
//!
//! Each machine has one connection that carries all calls. It is a background process of its own, so that Ctrl-C does
//! not end it and it costs us no open file; it ends on request, or a minute after the last keep-alive. Its first call
//! is a greeting, which shows what else the login shell prints. Connections behind jump hosts go through connections to
//! those, opened in the same way: ssh does not pass our options on to a jump host.

mod failure;
pub mod first_contact;
mod greeting;
mod link;
mod mux;
pub mod options;
mod route;
mod sockets;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::adapters::nix;
use crate::adapters::process::{Ended, Invocation, Output};
use crate::adapters::ssh::greeting::Greeting;
use crate::adapters::ssh::link::Link;
use crate::adapters::ssh::options::Pins;
use crate::adapters::ssh::route::{Endpoint, PinnedHosts};
use crate::adapters::ssh::sockets::{Sockets, locked};
use crate::domain::address::Address;
use crate::domain::name::HostName;
use crate::domain::policy::Host;
use crate::error::{Error, Kind, Result};

/// Connections to the hosts of a fleet.
pub struct Ssh {
    sockets: Arc<Sockets>,
    fleet: PinnedHosts,
    /// Jump hosts, each connected once. Locked one by one, so that a slow one does not block the others.
    hops: Mutex<BTreeMap<String, Arc<Mutex<Hop>>>>,
}

/// The state of a jump host.
#[derive(Default)]
enum Hop {
    #[default]
    Untried,
    Open(Arc<Link>),
    /// The reason, for every host behind it.
    Failed(Error),
}

impl Ssh {
    /// For the hosts of this fleet. Sockets are created below `runtime` if its path is suitable, else below /tmp.
    pub fn new(runtime: Option<&Path>, fleet: &BTreeMap<HostName, Host>) -> Result<Self> {
        let hosts = fleet.iter().map(|(name, host)| (name.clone(), host.address.clone(), host.ssh_keys.clone()));
        Ok(Self { sockets: Arc::new(Sockets::new(runtime)?), fleet: PinnedHosts::new(hosts), hops: Mutex::default() })
    }

    /// Connects to a host, which must present one of these keys before anything is sent. If ssh needs a password or
    /// passphrase, the user is asked on the terminal, for one host at a time.
    ///
    /// Fails with `Unreachable` and the reason, naming the jump host if it failed there.
    pub fn connect(&self, host: &HostName, address: &Address, pins: &[String]) -> Result<Connection> {
        let pins = Pins::new(host, pins)?;
        let mut link = Link::new(&self.sockets, host.to_string(), address, Some(pins))?;
        link.over = self.way(&link.place).map_err(|error| error.about(host))?;
        let greeting = link.open(|batch| link.begin(batch))?;
        Ok(Connection { link, greeting })
    }

    /// The last jump host before a place, connected; `None` if ssh goes there directly.
    fn way(&self, place: &Endpoint) -> Result<Option<Arc<Link>>> {
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

    /// Connects to a jump host. One of the fleet must present its pinned key; for any other the user's known_hosts
    /// decides.
    fn jump(&self, address: &Address, over: Option<Arc<Link>>) -> Result<Link> {
        let pins = match self.fleet.find(address)? {
            Some((host, pins)) => Some(Pins::new(host, pins).map_err(|error| error.about("jump host"))?),
            None => None,
        };
        let mut link = Link::new(&self.sockets, format!("jump host {}", address.host), address, pins)?;
        link.over = over;
        link.open(|batch| link.carry(batch))?;
        Ok(link)
    }
}

/// A host that has proven its identity, and the connection to it.
pub struct Connection {
    link: Link,
    greeting: Greeting,
}

impl Connection {
    /// A call of a program there. The arguments arrive unchanged, whatever the login shell.
    pub fn call(&self, words: &[&str]) -> Invocation {
        self.link.call(words)
    }

    /// The same over a new connection, which proves that the host still accepts one. Nobody is asked for anything.
    pub fn unshared(&self, words: &[&str]) -> Invocation {
        if let Some(over) = &self.link.over {
            // If that fails, so does the call.
            let _revived = over.revive();
        }
        self.link.unshared(words)
    }

    /// Whether nix can copy over this connection.
    pub fn takes_copies(&self) -> Result<()> {
        self.greeting.takes_copies(&self.link.label, &self.link.place.user)
    }

    /// The host's store, as nix addresses it.
    pub fn store(&self) -> nix::Remote {
        let link = &self.link;
        let own = [link.control("no"), vec!["BatchMode=yes".to_owned()]].concat();
        // nix splits options at blanks, so the route over a jump host cannot be given; without the shared connection it
        // must fail.
        let way = link.over.iter().map(|_| "ProxyCommand=false".to_owned());
        let all =
            own.into_iter().chain(link.trust.iter().cloned()).chain(way).chain(options::of_nix(&link.sockets.known));
        let mut words: Vec<String> = all.map(|option| format!("-o{option}")).collect();
        words.extend(link.address.user.iter().map(|user| format!("-l{user}")));
        words.extend(link.address.port.iter().map(|port| format!("-p{port}")));
        // Not every nix accepts an IPv6 address in a URL.
        let host = if link.address.host.contains(':') {
            words.push(format!("-oHostName={}", link.address.host.replace('%', "%%")));
            link.pins.as_ref().map_or("sealift", Pins::alias)
        } else {
            &link.address.host
        };
        let program = self.greeting.program();
        let (label, user) = (link.label.clone(), link.place.user.clone());
        nix::Remote { host: label, user, uri: format!("ssh-ng://{host}{program}"), options: words.join(" ") }
    }

    pub fn alive(&self) -> bool {
        self.link.alive()
    }

    /// Whether the connection was lost during a call. ssh exits with the same code for a remote program killed by a
    /// signal.
    pub fn lost(&self, ended: Ended) -> bool {
        ended == Ended::Code(failure::OWN) && !self.alive()
    }

    /// The error for a failed call: ssh's own failure, or the remote program's.
    pub fn failure(&self, output: &Output) -> Error {
        self.failed(output.ended, &String::from_utf8_lossy(&output.stderr))
    }

    /// Like `failure`, from the exit status and stderr.
    pub fn failed(&self, ended: Ended, said: &str) -> Error {
        if ended == Ended::Code(failure::OWN) && (failure::is_own(said) || !self.alive()) {
            return self.link.error(said);
        }
        let error = Error::failed(format!("{}: the program there failed ({ended})", self.link.label));
        let last = failure::last_lines(said);
        if last.is_empty() { error } else { error.because(last) }
    }
}
