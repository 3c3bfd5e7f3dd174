//! The severity of a finding of `check` or a fault of `doctor`.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `check` exits 3.
    Error,
    /// `check` exits 3 only with `--strict`.
    Warning,
}
