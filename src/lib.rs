//! sealift carries a NixOS fleet's secrets and its deploys.
//!
//! Data flows one way, and the layers show it: `domain ← adapters ← commands ← cli`.
//! See `docs/architecture.md` for the whole picture.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make and break files by hand"))]

pub mod adapters;
pub mod cli;
pub mod commands;
pub mod domain;
pub mod error;
