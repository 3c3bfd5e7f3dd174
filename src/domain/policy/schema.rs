//! The tables of recipients.toml: the only list of its keys, used by the parser, the JSON schema, and the suggestions
//! for misspelled keys.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::policy::check::RawCheck;
use crate::domain::policy::deploy::RawDeploy;
use crate::domain::policy::generate::Generate;
use crate::domain::policy::reader::{At, Text};
use crate::domain::secret::shape::shapes;

/// Who may read what: the one file that a sealift fleet declares its secrets in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "recipients.toml")]
pub(super) struct RawPolicy {
    /// The version of this form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub(super) version: At<i64>,
    /// People (or offline backup keys) who can open every secret: name = list of recipients.
    #[serde(default)]
    pub(super) admins: BTreeMap<Text, Vec<Text>>,
    /// Machines that receive secrets.
    #[serde(default)]
    pub(super) hosts: BTreeMap<Text, RawHost>,
    /// Machines that were removed; written by `sealift host rm`.
    #[serde(default)]
    pub(super) retired: BTreeMap<Text, RawRetired>,
    /// The secrets.
    #[serde(default)]
    pub(super) secrets: BTreeMap<Text, RawSecret>,
    /// How deploys are made.
    #[serde(default)]
    pub(super) deploy: RawDeploy,
    /// What deploy and verify look at, before and after.
    #[serde(default)]
    pub(super) checks: BTreeMap<Text, RawCheck>,
    /// What `sealift scan` lets stand.
    #[serde(default)]
    pub(super) scan: RawScan,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHost {
    /// What secrets are sealed to: the machine's SSH host key, or an age key of its own.
    #[schemars(length(min = 1))]
    pub(super) keys: At<Vec<Text>>,
    /// What it must show over SSH; default: the SSH keys in `keys`.
    pub(super) ssh_keys: Option<Vec<Text>>,
    /// user@host, ssh://user@host:port or an ssh_config alias; default: its name.
    pub(super) address: Option<Text>,
    /// Its name in the flake, `nixosConfigurations."NAME"`, where that is another one; default: its name.
    pub(super) configuration: Option<Text>,
    /// Words that lists of hosts can name as `@word`.
    #[serde(default)]
    pub(super) tags: Vec<Text>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetired {
    /// The keys it had. They are refused elsewhere.
    pub(super) keys: Vec<Text>,
    /// The day of its removal, YYYY-MM-DD.
    pub(super) since: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    /// The hosts that receive it: names, `@tags`, or `*`. Empty: the admins alone keep it.
    pub(super) hosts: Vec<Text>,
    /// The owner of the delivered file; default root.
    pub(super) owner: Option<Text>,
    /// Its group; default root.
    pub(super) group: Option<Text>,
    /// Its permissions, such as "0400" (the default). None for others.
    pub(super) mode: Option<Text>,
    /// Where it is found on the host; default /run/sealift/NAME.
    pub(super) path: Option<Text>,
    #[schemars(description = format!("{}.", shapes().replacen("raw", "raw (the default)", 1)))]
    pub(super) shape: Option<Text>,
    /// Units restarted when, and only when, the delivered bytes changed.
    #[serde(default)]
    pub(super) restart: Vec<Text>,
    /// Units reloaded then.
    #[serde(default)]
    pub(super) reload: Vec<Text>,
    /// Delivered before users are made, to a tree of its own that only root reads.
    #[serde(default)]
    pub(super) needed_for_users: bool,
    /// A value of its own for each host: secrets/NAME/HOST.age.
    #[serde(default)]
    pub(super) per_host: bool,
    /// After which time a value is overdue: a number and d, w, m (30 days) or y (365 days), such as "90d".
    pub(super) rotate_every: Option<Text>,
    /// The day on which the value ends, YYYY-MM-DD.
    pub(super) expires: Option<Text>,
    /// How `rotate` makes a new value; absent: it asks.
    pub(super) generate: Option<At<Generate>>,
    /// Accept a file that another tool sealed, without sealift's seal.
    #[serde(default)]
    pub(super) allow_unsealed: bool,
    /// For people.
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScan {
    /// Findings that a person has looked at.
    #[serde(default)]
    pub(super) allow: Vec<RawAllow>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAllow {
    /// The rule, as `sealift scan` names it.
    pub(super) rule: Text,
    /// The files: a path from the top of the repository; `*` stands for anything but `/`, `**` for anything, and a folder
    /// with `/` at its end for all that is in it.
    pub(super) path: Text,
    /// Why it may stay.
    pub(super) reason: Text,
}

/// The JSON schema of recipients.toml, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RawPolicy).to_value()
}
