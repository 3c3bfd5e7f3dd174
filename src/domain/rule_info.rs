//! What a rule says of itself: one record for every rule, of sources and of texts.

use serde::{Deserialize, Serialize};

/// How bad a finding is. Worse ones sort first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// A value of this fleet, or a whole private key.
    Severe,
    /// A token whose form leaves no doubt.
    High,
    /// Something that looks like a secret; a person decides.
    Medium,
}

/// What a rule says of itself.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// Its name: stable, used in allow entries and in SARIF.
    pub id: &'static str,
    /// What is found, as a noun.
    pub what: &'static str,
    pub why: &'static str,
    /// What to do about it.
    #[serde(rename = "mend")]
    pub help: &'static str,
    pub weight: Weight,
}
