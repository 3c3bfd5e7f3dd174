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

impl Ssh {
    /// For the hosts of this fleet. Sockets are made below `runtime`, if its path suits sockets, else below /tmp.
    pub fn new(runtime: Option<&Path>, fleet: &BTreeMap<HostName, Host>) -> Result<Self> {
        let hosts = fleet.iter().map(|(name, host)| (name.clone(), host.address.clone(), host.ssh_keys.clone()));
        Ok(Self { sockets: Arc::new(Sockets::new(runtime)?), fleet: PinnedHosts::new(hosts), hops: Mutex::default() })
    }

    /// Connects to a host, which must show one of these keys. Nothing is sent before it has. A person who is there is
    /// asked for a password or passphrase where ssh needs one; one host at a time asks.
    ///
    /// Fails with `Unreachable`, with the reason, and with the jump host where it failed there.
    pub fn connect(&self, host: &HostName, address: &Address, pins: &[String]) -> Result<Connection> {
        let pins = Pins::new(host, pins)?;
        let mut link = Link::new(&self.sockets, host.to_string(), address, Some(pins))?;
        link.over = self.way(&link.place).map_err(|error| error.about(host))?;
        let greeting = link.open(|batch| link.begin(batch))?;
        Ok(Connection { link, greeting })
    }

    /// The last jump host before a place, connected; none where ssh goes there directly.
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

    /// Connects to a jump host. One of the fleet must show its pinned key; any other is the user's own affair.
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
    pub fn unshared(&self, words: &[&str]) -> Invocation {
        if let Some(over) = &self.link.over {
            // If that fails the call tells.
            let _revived = over.revive();
        }
        self.link.unshared(words)
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
            own.into_iter().chain(link.trust.iter().cloned()).chain(way).chain(options::of_nix(&link.sockets.known));
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
        let (label, user) = (link.label.clone(), link.place.user.clone());
        nix::Remote { host: label, user, uri: format!("ssh-ng://{host}{program}"), options: words.join(" ") }
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
