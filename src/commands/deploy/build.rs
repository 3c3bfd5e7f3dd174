//! Builds the systems of hosts and the homes that belong to them, as the calling user and in one evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::adapters::flake::Flake;
use crate::adapters::fs::files;
use crate::adapters::git::Git;
use crate::adapters::nix::build::{self, Evaluated, Rooted};
use crate::adapters::nix::{Remote, store};
use crate::adapters::process::parallel;
use crate::adapters::signals;
use crate::commands::Session;
use crate::commands::deploy::preflight;
use crate::commands::deploy::request::{Builder, Planning};
use crate::commands::hosts::connection::Transport;
use crate::commands::hosts::select::{Ready, Who};
use crate::commands::hosts::talk::{OfHost, listed};
use crate::commands::talk::{Event, Talk};
use crate::domain::address::Address;
use crate::domain::deploy::home::user_of;
use crate::domain::foreign::holds;
use crate::domain::name::{Configuration, HostName, UnixName};
use crate::error::{Error, Result};

pub struct Built {
    pub system: String,
    /// Whether it is in the host's store and not in this machine's.
    pub there: bool,
    /// The homes that belong to it: users and their activation packages.
    pub homes: Vec<(UnixName, String)>,
}

impl Built {
    fn of(system: String, there: bool) -> Self {
        Self { system, there, homes: Vec::new() }
    }
}

/// What to build, for which hosts, and where the GC roots are.
pub struct Build<'a> {
    pub session: &'a Session,
    pub who: &'a Who,
    pub planning: &'a Planning,
    pub fleet: &'a preflight::Prepared,
    pub rooted: &'a Rooted,
}

/// The size limit of a Nix file to search, in bytes.
const NIX_LIMIT: u64 = 4 << 20;

impl Build<'_> {
    /// Builds the systems of these hosts on this machine, or on another one and copies them here.
    pub fn systems(&self, hosts: &BTreeSet<HostName>) -> Result<BTreeMap<HostName, Result<String>>> {
        let Self { session, planning, fleet, rooted, .. } = self;
        let policy = &session.fleet.policy;
        let configurations: BTreeMap<_, _> = hosts.iter().map(|host| (host, policy.configuration(host))).collect();
        let shown = listed(hosts);
        session.talk.event(Event::Step(format!("building the system of {shown}")));
        let line = |line: &str| {
            if line.starts_with("building ") || line.starts_with("copying ") {
                session.talk.event(Event::Step(line.to_owned()));
            }
        };
        let one = |(host, configuration): (&HostName, Configuration)| {
            let (name, what) = (Rooted::name_of(host), fleet.flake.system_of(&configuration));
            match &planning.builder {
                Builder::Host(address) => self.elsewhere(address, (&name, &what), line),
                _ => rooted.build(&name, &what, line),
            }
            .map_err(|error| not_built(host, &configuration, &fleet.flake, &error))
        };
        if planning.builder == Builder::Here && hosts.len() > 1 {
            match rooted.build_all(&fleet.flake.systems(), &configurations, line) {
                Ok(built) => return Ok(built.into_iter().map(|(host, system)| (host, Ok(system))).collect()),
                Err(_) if signals::pending() => return Err(signals::interrupted()),
                // Builds one host after another, so that each gets its own error. What is built already costs nothing.
                Err(_) => {}
            }
        }
        Ok(configurations.into_iter().map(|pair| (pair.0.clone(), one(pair))).collect())
    }

    /// Builds for hosts that were reached.
    pub fn systems_of(&self, ready: Vec<Ready>) -> Result<Vec<(Ready, Result<Built>)>> {
        let Self { session, who, planning, fleet, rooted } = self;
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        if planning.builder != Builder::Target {
            let hosts = ready.iter().map(|one| one.host.clone()).collect();
            let mut built = self.systems(&hosts)?;
            let paired = ready.into_iter().map(|one| {
                let system = built.remove(&one.host).unwrap_or_else(|| Err(Error::failed("nix did not build it")));
                (one, system.map(|system| Built::of(system, false)))
            });
            return Ok(paired.collect());
        }
        let count = ready.len();
        let built = parallel::map_on(who.places(&session.fleet.policy, true), &ready, |one| {
            let talk = OfHost::among(&session.talk, &one.host, count);
            let configuration = session.fleet.policy.configuration(&one.host);
            let attribute = fleet.flake.system_of(&configuration);
            let system = parallel::alone(|| match &one.target.transport {
                Transport::Local(_) => rooted.build(&Rooted::name_of(&one.host), &attribute, |_| ()),
                Transport::Remote(remote) => {
                    talk.event(Event::Step("building on the host".to_owned()));
                    build::build_on(&remote.connection().store(), &attribute, |_| ())
                }
            });
            let there = one.target.is_remote();
            let built = system.map(|system| Built::of(system, there));
            built.map_err(|error| not_built(&one.host, &configuration, &fleet.flake, &error))
        });
        Ok(ready.into_iter().zip(built).collect())
    }

    /// Builds the flake's homes for these hosts, where their systems are built. A home that cannot be built fails its
    /// host.
    pub fn with_homes(&self, built: Vec<(Ready, Result<Built>)>) -> Vec<(Ready, Result<Built>)> {
        let Self { session, fleet, .. } = self;
        let hosts: Vec<&HostName> = built.iter().filter(|(_, one)| one.is_ok()).map(|(one, _)| &one.host).collect();
        if hosts.is_empty() || !names_homes(&fleet.git) {
            return built;
        }
        session.talk.event(Event::Step(format!("building homes for {}", listed(hosts.iter().copied()))));
        let configuration = |host: &HostName| session.fleet.policy.configuration(host);
        let all = build::homes(&fleet.flake.homes(), &hosts.iter().map(|host| configuration(host)).collect::<Vec<_>>());
        let apart = all.is_err() && hosts.len() > 1;
        let one = |(one, built): (Ready, Result<Built>)| {
            let homes = built.and_then(|built| {
                let of = configuration(&one.host);
                // Each host gets its own error.
                let own = apart.then(|| build::homes(&fleet.flake.homes(), std::slice::from_ref(&of)));
                let known = own.as_ref().unwrap_or(&all).as_ref().map_err(|error| no_home(&one.host, error))?;
                let of_host = known.iter().filter_map(|(name, plan)| Some((name, user_of(name, &of)?, plan)));
                let homes = of_host.map(|(name, user, plan)| {
                    self.home(&one, (name, plan))
                        .map(|package| (user, package))
                        .map_err(|error| no_home(&one.host, &error))
                });
                Ok(Built { homes: homes.collect::<Result<_>>()?, ..built })
            });
            (one, homes)
        };
        built.into_iter().map(one).collect()
    }

    /// Builds one home where systems are built.
    fn home(&self, ready: &Ready, (name, plan): (&str, &Evaluated)) -> Result<String> {
        let (link, what) = (format!("home-{name}"), self.fleet.flake.home_of(name));
        match (&self.planning.builder, &ready.target.transport) {
            (Builder::Host(address), _) => self.elsewhere(address, (&link, &what), |_| ()),
            (Builder::Target, Transport::Remote(remote)) => {
                build::build_on(&remote.connection().store(), &what, |_| ())
            }
            (Builder::Here | Builder::Target, _) => self.rooted.realise(&link, plan, |_| ()),
        }
    }

    /// Builds on another machine, and copies the result here.
    fn elsewhere(
        &self,
        address: &Address,
        (name, what): (&str, &str),
        line: impl FnMut(&str) + Send,
    ) -> Result<String> {
        let policy = &self.session.fleet.policy;
        // A host of the fleet must have its pinned key; another machine a key in the user's own known_hosts.
        let ours = policy.hosts.iter().find(|(host, entry)| entry.address == *address || host.as_str() == address.host);
        let path = match ours {
            Some((host, entry)) => {
                let ssh = self.who.ssh(policy)?;
                let connection = ssh.connect(host, &entry.address, &entry.ssh_keys)?;
                fetch(&connection.store(), what, line)?
            }
            None => fetch(&Remote::plain(address), what, line)?,
        };
        self.rooted.hold(&[(name, path.as_str())])?;
        Ok(path)
    }
}

/// Returns the running systems of hosts, for a deploy that switches only homes.
pub fn running(ready: Vec<Ready>) -> Vec<(Ready, Result<Built>)> {
    let running = ready.into_iter().map(|one| {
        let system = one.target.survey.former.clone();
        let system = system.ok_or_else(|| Error::failed(format!("no system runs on {} yet", one.host)));
        (one, system.map(|system| Built::of(system, false)))
    });
    running.collect()
}

/// Whether any Nix file mentions homes. Asking the flake would need an evaluation.
fn names_homes(git: &Git) -> bool {
    let listed = git.listed().unwrap_or_default();
    let mut nix = listed.iter().filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "nix"));
    nix.any(|name| {
        let text = files::read(&git.top.join(name), NIX_LIMIT).unwrap_or_default();
        holds(&text, HOMES)
    })
}

const HOMES: &[u8] = b"homeConfigurations";

fn no_home(host: &HostName, error: &Error) -> Error {
    if signals::pending() {
        return signals::interrupted();
    }
    Error::failed(format!("the homes of {host} could not be built; nothing was changed")).because(cause(error))
}

/// Returns the message of nix alone.
fn cause(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.message().to_owned(), ToString::to_string)
}

fn fetch(remote: &Remote, what: &str, line: impl FnMut(&str) + Send) -> Result<String> {
    let path = build::build_on(remote, what, line)?;
    store::copy_from(remote, &[&path])?;
    Ok(path)
}

fn not_built(host: &HostName, configuration: &Configuration, flake: &Flake, error: &Error) -> Error {
    // Ctrl-C reaches nix too, which then fails.
    if signals::pending() {
        return signals::interrupted();
    }
    let cause = cause(error);
    let has_none = cause.contains("does not provide attribute");
    let failed = Error::failed(format!("the system of {host} could not be built; nothing was changed")).because(cause);
    if has_none {
        failed.help(format!(
            "what is built is `nixosConfigurations.\"{configuration}\"`; where the flake has it under another name, that is `configuration` in [hosts.{host}] of recipients.toml"
        ))
    } else if !flake.is_plain() {
        failed.help(
            "an older nix cannot read a repository whose path has spaces or special characters: if it is that, move it, or use a newer nix",
        )
    } else {
        failed
    }
}
