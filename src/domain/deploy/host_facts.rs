//! What a host says of itself when it is looked at: asked as the user who logs in, without root, and nothing changes. From it
//! the plan is made, the preflight's problems are found, and `status` is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::deploy::diff::{Action, Commands, Facts, Outcome};
use crate::domain::deploy::home::State;
use crate::domain::deploy::secret_changes::Carried;
use crate::domain::name::{HostName, UnixName};

/// What is asked beyond the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// A system that may come: whether the store has it, and what it says of itself.
    pub coming: Option<String>,
    /// Whether the store paths of the running system are to be listed.
    pub closure: bool,
}

/// What a host says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Survey {
    /// The version of sealift there.
    pub program: String,
    pub host_name: String,
    /// What its programs run on, as Nix names it: `x86_64-linux`.
    pub platform: String,
    pub nixos: bool,
    pub user: String,
    pub root: bool,
    /// The public host keys that it has, as `type base64`.
    pub keys: Vec<String>,
    /// The store path of the system that runs; none where none does.
    pub former: Option<String>,
    /// What that says of itself; none where it is broken.
    pub running: Option<Seen>,
    /// What was booted says of itself.
    pub booted: Option<Facts>,
    /// The current generation of the system profile.
    pub generation: Option<u64>,
    /// The system of that generation: what boots next.
    pub next: Option<String>,
    /// Which specialisation of a generation runs; none where what runs is no specialisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<Specialisation>,
    /// The system that was asked for, if the store has it.
    pub coming: Option<Seen>,
    /// The store paths of the running system, if asked for.
    pub closure: Vec<String>,
    /// How large each of them is; empty where that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<u64>,
    /// The same of the system that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coming_closure: Vec<String>,
    /// How large each of those is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coming_sizes: Vec<u64>,
    /// Free bytes, by place.
    pub free: BTreeMap<String, u64>,
    /// Which deploy is at work, as far as the caller may know.
    pub busy: Option<String>,
    /// Whether a deploy was ended before its end.
    pub unfinished: bool,
    /// Which users its nix trusts.
    pub trust: Trust,
    /// The units that are failed; none where nobody can tell.
    pub failed: Option<BTreeSet<String>>,
    /// The last deploy in the record.
    pub last: Option<Record>,
    /// The commit that the running system was built from, as far as any deploy in the record says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The homes of home-manager that are no part of the system, as far as the user who logs in may see them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<State>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specialisation {
    pub name: String,
    /// The store path of the system that it is one of.
    pub of: String,
}

/// A system that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    pub system: String,
    /// What it says of itself.
    pub facts: Facts,
    /// The host whose secrets it carries itself; none where it carries no manifest.
    pub carries: Option<HostName>,
    /// Store path of what was delivered with it, if it carries no manifest.
    pub bundle: Option<String>,
    /// The secrets that it carries, or that are delivered with it.
    pub secrets: Vec<Carried>,
    /// The commands of its declared checks; none where it carries none, as before there was a module.
    pub commands: Option<Commands>,
    /// The store paths of its specialisations, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub specialisations: BTreeMap<String, String>,
}

/// Which users the nix of a machine trusts, from its own configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trust {
    /// Whether the user who logs in may bring paths that nobody signed.
    pub user: bool,
    /// The keys whose signatures count, as `name:base64`.
    pub keys: Vec<String>,
    /// Whether the user who logs in may not even reach the nix daemon.
    pub barred: bool,
    /// Why nix could not be asked, where that is so.
    pub unknown: Option<String>,
}

/// One line of the record of deploys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The version of its form.
    pub version: u32,
    pub run: String,
    /// Who asked: `user@machine`.
    pub who: String,
    /// When it ended, in UTC.
    pub ended: String,
    /// How far it was to go; none for a recovery.
    pub action: Option<Action>,
    /// The system that was to come.
    pub system: Option<String>,
    /// The one that ran before.
    pub former: Option<String>,
    /// The commit that it was built from.
    pub commit: Option<String>,
    /// Digests of the sealed files that it carries, by secret: SHA-256, hexadecimal.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// The store paths of the homes that were to come with it, by user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub homes: BTreeMap<UnixName, String>,
    pub outcome: Outcome,
    /// The current generation of the profile after it.
    pub generation: Option<u64>,
    /// Why it is not what was asked for.
    pub reason: Option<String>,
}
