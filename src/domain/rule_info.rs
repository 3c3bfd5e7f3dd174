//! The description of a rule: the same type for all rules, those for sources and those for bytes.

use serde::{Deserialize, Serialize};

/// The severity of a finding. Higher ones sort first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// A value of this fleet, or a whole private key.
    Severe,
    /// A token with an unmistakable format.
    High,
    /// Something that looks like a secret; a person has to decide.
    Medium,
}

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
