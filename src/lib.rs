//! sealift manages secrets and deploys of a NixOS fleet.
//!
//! Dependencies point one way, along the layers: `domain ← adapters ← commands ← cli`. `docs/architecture.md` describes
//! the whole. This is a program, not a library: the public items are those that its two binaries call and, with the
//! feature `internals`, those that tests and fuzzers need.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make and break files by hand"))]
#![cfg_attr(
    feature = "internals",
    allow(
        missing_docs,
        clippy::len_without_is_empty,
        clippy::missing_errors_doc,
        reason = "of no interest to other crates"
    )
)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, unused_imports, reason = "what only hosts run is left out, and what it needs is used by nobody")
)]

mod cli;

#[cfg(not(feature = "internals"))]
mod adapters;
#[cfg(not(feature = "internals"))]
mod commands;
#[cfg(not(feature = "internals"))]
mod domain;
#[cfg(not(feature = "internals"))]
mod error;

#[cfg(feature = "internals")]
pub mod adapters;
#[cfg(feature = "internals")]
pub mod commands;
#[cfg(feature = "internals")]
pub mod domain;
#[cfg(feature = "internals")]
pub mod error;

#[cfg(target_os = "linux")]
pub use crate::cli::host::main as host;
pub use crate::cli::main;
