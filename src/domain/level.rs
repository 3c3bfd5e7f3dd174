//! How much a finding of `check` or a fault of `doctor` weighs.

use serde::Serialize;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `check` exits 3.
    Error,
    /// `check` exits 3 only with `--strict`.
    Warning,
}
