//! What a host reports about itself. It is collected as the user who logs in, without root, and changes nothing. The
//! plan, the preflight checks and `status` are based on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::deploy::diff::{Action, Commands, Facts, Outcome};
use crate::domain::deploy::home::State;
use crate::domain::deploy::secret_changes::Carried;
use crate::domain::name::{HostName, UnixName};

/// Optional parts of a survey.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The store path of a new system: report whether the store has it, and its facts.
    pub coming: Option<String>,
    /// Whether to list the store paths of the running system.
    pub closure: bool,
}

/// What a host reports about itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Survey {
    /// The version of sealift on the host.
    pub program: String,
    pub host_name: String,
    /// The platform in Nix's notation, such as `x86_64-linux`.
    pub platform: String,
    pub nixos: bool,
    pub user: String,
    pub root: bool,
    /// The host's public SSH keys, as `type base64`.
    pub keys: Vec<String>,
    /// The store path of the running system, if any.
    pub former: Option<String>,
    /// Details of the running system; `None` if it is broken.
    pub running: Option<Seen>,
    /// The facts of the booted system.
    pub booted: Option<Facts>,
    /// The current generation of the system profile.
    pub generation: Option<u64>,
    /// The system of that generation: what boots next.
    pub next: Option<String>,
    /// The running specialisation, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<Specialisation>,
    /// The system named in the question, if the store has it.
    pub coming: Option<Seen>,
    /// The store paths of the running system, if requested.
    pub closure: Vec<String>,
    /// The size of each of them; empty if unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<u64>,
    /// The store paths of the system named in the question.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coming_closure: Vec<String>,
    /// The size of each of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coming_sizes: Vec<u64>,
    /// Free bytes, by directory.
    pub free: BTreeMap<String, u64>,
    /// The deploy in progress, as far as the caller may know.
    pub busy: Option<String>,
    /// Whether a deploy was interrupted.
    pub unfinished: bool,
    /// The users and keys that the host's Nix trusts.
    pub trust: Trust,
    /// The failed units; `None` if unknown.
    pub failed: Option<BTreeSet<String>>,
    /// The last deploy in the host's record.
    pub last: Option<Record>,
    /// The commit that the running system was built from, if a deploy in the record names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The home-manager homes that are not part of the system, as far as the user who logs in may see them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<State>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specialisation {
    pub name: String,
    /// The store path of the system that it belongs to.
    pub of: String,
}

/// A system in the host's store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    pub system: String,
    pub facts: Facts,
    /// The host whose secrets it contains; `None` if it contains no manifest.
    pub carries: Option<HostName>,
    /// Store path of the bundle delivered with it, if it contains no manifest.
    pub bundle: Option<String>,
    /// The secrets that it contains, or that are delivered with it.
    pub secrets: Vec<Carried>,
    /// The commands of its declared checks; `None` if it carries none, like systems from before the NixOS module.
    pub commands: Option<Commands>,
    /// The store paths of its specialisations, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub specialisations: BTreeMap<String, String>,
}

/// Which users and keys the machine's Nix trusts, from its own configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trust {
    /// Whether the user who logs in may import unsigned paths.
    pub user: bool,
    /// The keys whose signatures are accepted, as `name:base64`.
    pub keys: Vec<String>,
    /// Whether the user who logs in may not use the nix daemon at all.
    pub barred: bool,
    /// Why Nix could not be queried, if so.
    pub unknown: Option<String>,
}

/// One line of the record of deploys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The version of its format.
    pub version: u32,
    pub run: String,
    /// Who requested it: `user@machine`.
    pub who: String,
    /// When it ended, in UTC.
    pub ended: String,
    /// The requested action; `None` for a recovery.
    pub action: Option<Action>,
    /// The system to deploy.
    pub system: Option<String>,
    /// The system that ran before.
    pub former: Option<String>,
    /// The commit that the new system was built from.
    pub commit: Option<String>,
    /// SHA-256 digests of its sealed files in hexadecimal, by secret.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// The store paths of the homes to switch, by user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub homes: BTreeMap<UnixName, String>,
    pub outcome: Outcome,
    /// The current generation of the profile afterwards.
    pub generation: Option<u64>,
    /// Why the outcome is not the requested one.
    pub reason: Option<String>,
}
