//! What a deploy is asked for.

use std::path::PathBuf;
use std::time::Duration;

use crate::commands::agent::caller::Caller;
use crate::commands::deploy::closure_scan::Inspect;
use crate::commands::hosts::select::Who;
use crate::domain::address::Address;
use crate::domain::deploy::diff::Action;
use crate::domain::name::HostName;

pub struct Request {
    pub who: Who,
    /// How it is carried out.
    pub how: How,
    pub action: Action,
    /// Whether a specialisation that runs is left for the system itself.
    pub base: bool,
    /// Whether only homes are switched, and systems stay as they are.
    pub only_homes: bool,
    pub yes: bool,
    /// The directory of the flake, if it is not the fleet's.
    pub flake: Option<String>,
    /// The host that goes first.
    pub canary: Option<HostName>,
    pub builder: Builder,
    /// Whether what was built is searched for values.
    pub inspect: Inspect,
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

/// How it is carried out.
#[derive(Clone, Debug)]
pub struct How {
    /// Whether no other host is begun once one has failed.
    pub fail_fast: bool,
    /// For how many seconds a check that got worse may recover.
    pub settle: u64,
    /// For how long a host that others wait for is watched once it is deployed.
    pub soak: Duration,
    /// For how many seconds another machine waits for the acknowledgement.
    pub acknowledge: u64,
    /// Where the machine is reached after the switch, if its address changes.
    pub ack_address: Option<Address>,
    /// The user's home, for a key that signs.
    pub home: Option<PathBuf>,
    pub caller: Caller,
    /// Where /etc/nixos should lead, on each host.
    pub link: Option<String>,
}
