//! Looking for plaintext in bytes: rules, exact values, and the engine that holds both against a text in one pass. Pure:
//! where the bytes come from, and where findings go, is not known here. Nothing that leaves this module holds a value.

pub mod about;
pub mod allow;
mod assigned;
pub mod engine;
pub mod exact;
pub mod finding;
mod forms;
pub mod index;
mod keys;
pub mod rules;
pub mod sample;
pub(super) mod sieve;
pub mod source;
mod tokens;
mod units;
mod value;
pub mod wanted;

pub use about::{About, Weight};
pub use engine::{Engine, Hit, Subject};
pub use finding::{Finding, Place};
pub use wanted::Wanted;
