//! Looking for plaintext in bytes: rules, exact values, and the engine that holds both against a text in one pass. Pure:
//! where the bytes come from, and where findings go, is not known here. Nothing that leaves this module holds a value.

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
