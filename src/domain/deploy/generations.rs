//! The generations that a machine can roll back to, and what each would do to its secrets: the list as sent and
//! printed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::deploy::home::State;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Generations {
    /// The version of this format: 1.
    pub version: u32,
    pub root: PathBuf,
    /// Newest first.
    pub generations: Vec<Generation>,
    /// The home-manager homes that are not part of the system, each with its own generations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<State>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Its number in the system profile.
    pub generation: u64,
    /// When it was created, in UTC.
    pub date: Option<String>,
    /// Its store path; `None` if that is no longer in the store.
    pub system: Option<String>,
    pub nixos_version: Option<String>,
    pub kernel: Option<String>,
    /// Whether the profile points to it, so that it boots next.
    pub current: bool,
    pub running: bool,
    /// The specialisation of it that is running, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<String>,
    pub booted: bool,
    /// Whether a unit of its own delivers its secrets. If not, they last only until the next reboot.
    pub unit: bool,
    pub secrets: Vec<Secret>,
    /// Secrets to which it would restore an older value than the newest generation has.
    pub revives: Vec<String>,
    /// Secrets that none of the machine's keys can open.
    pub cannot_open: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Secret {
    pub name: String,
    /// The serial of its value; `None` if the file has no seal.
    pub serial: Option<u64>,
}
