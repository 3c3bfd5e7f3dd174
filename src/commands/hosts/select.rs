//! The machines of a deploy: selects, reaches and surveys them, several at a time. One that cannot be reached does not
//! stop the others, and one that does not answer does not block them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::adapters::fs::root::Root;
use crate::adapters::process::parallel;
use crate::adapters::ssh::Ssh;
use crate::commands::agent::caller::Caller;
use crate::commands::hosts::bootstrap::Brought;
use crate::commands::hosts::client::recover;
use crate::commands::hosts::connection::Target;
use crate::commands::hosts::identify::this_machine;
use crate::commands::hosts::privilege::Rights;
use crate::commands::hosts::ready::{self, Brings};
use crate::commands::hosts::talk::OfHost;
use crate::commands::talk::Talk;
use crate::domain::name::{self, HostName, HostWord};
use crate::domain::policy::{Policy, Selector};
use crate::error::{Error, Result};

/// The default number of hosts at a time, for work that changes them and for work that only reads.
const PLACES: (u32, u32) = (4, 16);
/// How long a slow machine holds its slot before the next one starts.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which machines to work on, and how to reach them.
#[derive(Clone, Debug)]
pub struct Who {
    pub words: Vec<Selector>,
    pub all: bool,
    /// The root directory of this machine.
    pub root: PathBuf,
    /// Whether an offline host that was selected by tag is an error too.
    pub require_all: bool,
    /// How many hosts at a time, if given.
    pub jobs: Option<u32>,
    /// Whether to ask for sudo's password.
    pub ask_sudo: bool,
    /// A program for hosts that do not have sealift's.
    pub host_program: Option<PathBuf>,
    pub runtime: Option<PathBuf>,
    pub caller: Caller,
}

/// The hosts of a deploy.
pub struct Chosen {
    pub hosts: BTreeSet<HostName>,
    /// Those selected by name: if one of them is offline, that is an error.
    pub named: BTreeSet<HostName>,
}

/// Returns the hosts that these words select.
pub fn select(policy: &Policy, words: &[Selector]) -> Result<BTreeSet<HostName>> {
    policy.select(words).map_err(|word| match word {
        Selector::Host(host) => policy.no_host(host.as_str()),
        word => {
            let words = policy.selector_words();
            let near = name::nearest(&word.to_string(), words.iter().map(String::as_str));
            let error = Error::usage(format!("{word} names no host: none has this tag"));
            match near {
                Some(near) => error.help(format!("did you mean {near}?")),
                None => error.help("tags are given to hosts in recipients.toml"),
            }
        }
    })
}

/// Words of `--hosts` as recipients.toml has them: each host by its name, whichever was given.
///
/// Fails where one names nothing.
pub fn declared(policy: &Policy, words: &[String]) -> Result<Vec<String>> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for word in words {
        let found = if let Some(Ok(tag)) = word.strip_prefix('@').map(str::parse) {
            select(policy, &[Selector::Tagged(tag)]).map(|_| word.clone())
        } else if let Ok(host) = word.parse::<HostWord>() {
            policy.named(&host).map(ToString::to_string)
        } else {
            // What no name can be is said where it is read.
            Ok(word.clone())
        };
        match found {
            Ok(word) => known.push(word),
            Err(error) => unknown.push(error.about("--hosts")),
        }
    }
    Error::unless_none(unknown, |count| format!("{count} words of `--hosts` name nothing"))?;
    Ok(known)
}

impl Who {
    /// Returns the selected hosts. Without words: this machine.
    ///
    /// Fails if a word matches nothing, or this machine is not a host of the policy.
    pub fn choose(&self, policy: &Policy) -> Result<Chosen> {
        if self.all {
            let hosts = policy.hosts.keys().cloned().collect();
            return Ok(Chosen { hosts, named: BTreeSet::new() });
        }
        if self.words.is_empty() {
            let here = this_machine(policy, &Root::open(&self.root)?, None)?;
            return Ok(Chosen { hosts: BTreeSet::from([here.clone()]), named: BTreeSet::from([here]) });
        }
        let hosts = select(policy, &self.words)?;
        let named = self.words.iter().filter_map(|word| match word {
            Selector::Host(host) => Some(host.clone()),
            _ => None,
        });
        Ok(Chosen { hosts, named: named.collect() })
    }

    /// Returns the one host that these words select.
    pub fn choose_one(&self, policy: &Policy) -> Result<HostName> {
        let mut hosts = self.choose(policy)?.hosts;
        match (hosts.pop_first(), hosts.is_empty()) {
            (Some(host), true) => Ok(host),
            _ => Err(Error::usage("this is done for one host at a time")),
        }
    }

    /// Returns how many hosts are worked on at a time. `changes` says whether the work changes them.
    pub fn places(&self, policy: &Policy, changes: bool) -> usize {
        let unsaid = if changes { PLACES.0 } else { PLACES.1 };
        self.jobs.or(policy.deploy.jobs).unwrap_or(unsaid) as usize
    }

    /// The user's ssh, for hosts of this policy.
    pub fn ssh(&self, policy: &Policy) -> Result<Arc<Ssh>> {
        Ssh::new(self.runtime.as_deref(), &policy.hosts).map(Arc::new)
    }

    /// Reaches one machine. A root directory other than `/` is used as that machine. `root`: as in `Target::there`.
    pub fn reach(
        &self,
        policy: &Policy,
        host: &HostName,
        ssh: &Arc<Ssh>,
        bring: Option<&Brought>,
        root: bool,
    ) -> Result<Target> {
        if self.root.as_os_str() == "/" {
            return Target::of(policy, host, ssh, &self.caller, bring, root);
        }
        let root = Root::open(&self.root)?;
        this_machine(policy, &root, Some(host))?;
        Target::here(root, Some(host.clone()))
    }
}

/// What is needed on a host.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    pub root: bool,
    /// Set if a system will be copied there.
    pub brings: Option<Brings>,
    /// The result of a check that runs in parallel, whose thread holds the lock. Unless it is true, no password is
    /// asked for, and no interrupted run is recovered.
    pub gate: Option<&'a RwLock<bool>>,
}

/// A machine that is ready.
pub struct Ready {
    /// Its name in the policy.
    pub host: HostName,
    pub target: Target,
    /// How to become root there.
    pub rights: Rights,
}

/// Reaches all hosts, several at a time. If a system is brought with root's rights, first recovers an interrupted
/// deploy there.
pub fn reach_all(
    policy: &Policy,
    who: &Who,
    chosen: &Chosen,
    needs: Needs<'_>,
    bring: Option<&Brought>,
    talk: &Arc<dyn Talk>,
) -> Result<Vec<(HostName, Result<Ready>)>> {
    let ssh = who.ssh(policy)?;
    let hosts: Vec<&HostName> = chosen.hosts.iter().collect();
    let places = who.places(policy, needs.brings.is_some());
    let reach = |host: &&HostName| -> Result<Ready> {
        let talk = OfHost::among(talk, host, hosts.len());
        let mut target = who.reach(policy, host, &ssh, bring, needs.root)?;
        if let Some(brings) = needs.brings {
            ready::host(&target, brings)?;
        }
        if !needs.root || !needs.gate.is_none_or(|gate| gate.read().is_ok_and(|well| *well)) {
            return Ok(Ready { host: (*host).clone(), target, rights: Rights::Root });
        }
        let rights = target.rights(who.ask_sudo, &who.caller, &talk)?;
        if needs.brings.is_some() {
            recover(&mut target, &rights, &who.caller, &talk)?;
        }
        Ok(Ready { host: (*host).clone(), target, rights })
    };
    let reached = parallel::map_waiting(places, PATIENCE, &hosts, |host| parallel::alone(|| reach(host)));
    Ok(hosts.into_iter().cloned().zip(reached).collect())
}

/// Prefixes an error with its host, unless its message names the host already.
pub fn named(host: &HostName, error: Error) -> Error {
    if error.is_about(host.as_str()) { error } else { error.about(host) }
}
