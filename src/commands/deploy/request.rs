//! The request for a deploy: what to plan, and how to carry it out.

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

/// The request for `deploy`. `plan` does not use `how`, and `apply` not `planning`: its plan is in a file.
pub struct Request {
    pub who: Who,
    pub planning: Planning,
    pub how: How,
}

/// What to plan, and where to build it.
pub struct Planning {
    pub action: Action,
    /// Whether to leave a running specialisation for the base system.
    pub base: bool,
    /// Whether to switch only homes and leave systems unchanged.
    pub only_homes: bool,
    /// The directory of the flake, if it is not the fleet's.
    pub flake: Option<String>,
    /// The host that goes first.
    pub canary: Option<HostName>,
    pub builder: Builder,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builder {
    /// On this machine, with the builders of its nix.conf.
    Here,
    /// On another machine; the result is copied here.
    Host(Address),
    /// On each host itself.
    Target,
}

/// How a plan is carried out.
pub struct How {
    pub yes: bool,
    /// Whether built paths are searched for values.
    pub inspect: Inspect,
    /// Whether to begin no other host after one has failed.
    pub fail_fast: bool,
    /// How long a host that others wait for is watched after its deploy.
    pub soak: Duration,
    pub patience: Patience,
    /// The user's home directory, for the path of the signing key.
    pub home: Option<PathBuf>,
    /// Where /etc/nixos should lead on each host.
    pub link: Option<String>,
}

/// How long a host waits, and for what.
pub struct Patience {
    /// For how many seconds a check that got worse may recover.
    pub settle: u64,
    /// For how many seconds a remote host waits for the acknowledgement.
    pub acknowledge: u64,
    /// The machine's address after the switch, if it changes.
    pub ack_address: Option<Address>,
}

impl Patience {
    /// Fails if several hosts would have to be reached at the one given address.
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
