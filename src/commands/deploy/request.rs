//! What a deploy is asked for: what is planned, and how that is carried out.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::commands::deploy::closure_scan::Inspect;
use crate::commands::hosts::select::Who;
use crate::domain::address::Address;
use crate::domain::counted::counted;
use crate::domain::deploy::diff::Action;
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// What `deploy` is asked for. `plan` has no use for how, and `apply` none for what: that is in its file.
pub struct Request {
    pub who: Who,
    pub planning: Planning,
    pub how: How,
}

/// What is planned, and where it is built.
pub struct Planning {
    pub action: Action,
    /// Whether a specialisation that runs is left for the system itself.
    pub base: bool,
    /// Whether only homes are switched, and systems stay as they are.
    pub only_homes: bool,
    /// The directory of the flake, if it is not the fleet's.
    pub flake: Option<String>,
    /// The host that goes first.
    pub canary: Option<HostName>,
    pub builder: Builder,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builder {
    /// On this machine, with whatever nix.conf says of builders.
    Here,
    /// On another machine, and brought here.
    Host(Address),
    /// On each host itself.
    Target,
}

/// How a plan is carried out.
pub struct How {
    pub yes: bool,
    /// Whether what was built is searched for values.
    pub inspect: Inspect,
    /// Whether no other host is begun once one has failed.
    pub fail_fast: bool,
    /// For how long a host that others wait for is watched once it is deployed.
    pub soak: Duration,
    pub patience: Patience,
    /// The user's home, for a key that signs.
    pub home: Option<PathBuf>,
    /// Where /etc/nixos should lead, on each host.
    pub link: Option<String>,
}

/// How long a host waits, and for what.
pub struct Patience {
    /// For how many seconds a check that got worse may recover.
    pub settle: u64,
    /// For how many seconds another machine waits for the acknowledgement.
    pub acknowledge: u64,
    /// Where the machine is reached after the switch, if its address changes.
    pub ack_address: Option<Address>,
}

impl Patience {
    /// Fails where several hosts would be looked for at the one address that was given.
    pub fn fits(&self, hosts: &BTreeSet<HostName>) -> Result<()> {
        match (&self.ack_address, hosts.first()) {
            (Some(address), Some(first)) if hosts.len() > 1 => Err(Error::usage(format!(
                "`--ack-address` is where one host is reached after the switch, and {} would be looked for at {address}",
                counted(hosts.len(), "host")
            ))
            .help(format!("deploy the host whose address changes alone: `sealift deploy {first} --ack-address {address}`"))),
            _ => Ok(()),
        }
    }
}
