//! Searches bytes for plaintext: rules, exact values, and the engine that applies both in one pass. Pure: it does not
//! know where the bytes come from or where findings go. Nothing that leaves this module contains a value.

pub mod allow;
mod charset;
mod encoded;
pub mod engine;
mod entropy;
pub mod finding;
pub mod index;
pub mod index_file;
pub mod rule;
pub mod rules;
#[cfg(any(test, feature = "internals"))]
pub mod sample;
pub mod source_rule;
pub mod subject;
pub mod variants;

pub use crate::domain::rule_info::Weight;
pub use crate::domain::scan::engine::Engine;
pub use crate::domain::scan::finding::{Finding, Place};
pub use crate::domain::scan::subject::{Hit, Subject};
