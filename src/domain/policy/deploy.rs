//! How deploys are made: `[deploy]` of recipients.toml.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::name::{HostName, Tag};
use crate::domain::policy::reader::{At, Text};

/// `[deploy]`.
#[derive(Clone, Debug, Default)]
pub struct DeploySettings {
    /// Which program activates a system.
    pub engine: Engine,
    /// How many hosts are deployed at a time.
    pub jobs: Option<u32>,
    /// The host that is deployed first.
    pub canary: Option<HostName>,
    /// How many hosts with a tag are deployed at the same time.
    pub at_most: BTreeMap<Tag, u32>,
    /// Which program compares systems in the plan; `None`: sealift itself.
    pub diff: Option<Differ>,
    /// The key file for signing what is copied to hosts: a path on the deployer's machine.
    pub sign_key: Option<PathBuf>,
}

/// Which program tells what differs between two systems. None but these is run because a repository says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Differ {
    /// dix.
    Dix,
    /// nvd.
    Nvd,
}

impl Differ {
    /// The program's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Differ::Dix => "dix",
            Differ::Nvd => "nvd",
        }
    }
}

impl fmt::Display for Differ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which program activates a system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// nixos-rebuild where it can take a store path, else native.
    #[default]
    Auto,
    /// `nix-env --set` and the closure's own switch-to-configuration.
    Native,
    /// nixos-rebuild, always.
    NixosRebuild,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeploy {
    /// Which program activates a system.
    pub(super) engine: Option<Engine>,
    /// How many hosts at a time.
    #[schemars(range(min = 1, max = 256))]
    pub(super) jobs: Option<At<u32>>,
    /// The host that goes first.
    pub(super) canary: Option<Text>,
    /// Of how many hosts with a tag a deploy is at work at once, such as `{ "@web" = 1 }`: 1 to 256.
    #[serde(default)]
    pub(super) at_most: BTreeMap<Text, At<u32>>,
    /// Which program tells in the plan what differs between two systems; default: sealift itself.
    pub(super) diff: Option<Differ>,
    /// The file of the nix key that signs what is copied to hosts, absolute or below `~/`: for hosts whose nix trusts the
    /// key but not the user who deploys.
    pub(super) sign_key: Option<Text>,
}
