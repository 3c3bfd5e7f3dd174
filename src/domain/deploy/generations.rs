//! The systems that a machine can go back to, and what each would do to its secrets: the list, as it is told and printed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::deploy::home::State;

/// The generations of a machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Generations {
    /// The version of this form: 1.
    pub version: u32,
    pub root: PathBuf,
    /// The generations, newest first.
    pub generations: Vec<Generation>,
    /// The homes of home-manager that are no part of the system, each with its own generations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<State>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Its number in the system profile.
    pub generation: u64,
    /// When it was made, in UTC.
    pub date: Option<String>,
    /// Its system; none where that is not in the store any more.
    pub system: Option<String>,
    pub nixos_version: Option<String>,
    /// The version of its kernel.
    pub kernel: Option<String>,
    /// Whether it is what the profile says, and boots next.
    pub current: bool,
    pub running: bool,
    /// Which specialisation of it runs, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<String>,
    pub booted: bool,
    /// Whether it delivers its secrets by a unit of its own. If not, they last only until the next reboot.
    pub unit: bool,
    pub secrets: Vec<Secret>,
    /// Secrets of which it would bring back an older value than the newest generation has.
    pub revives: Vec<String>,
    /// Secrets that none of the machine's keys opens.
    pub cannot_open: Vec<String>,
}

/// One secret of a generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Secret {
    pub name: String,
    /// The serial of its value; none where the file has no seal.
    pub serial: Option<u64>,
}
