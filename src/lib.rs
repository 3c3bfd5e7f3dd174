//! sealift carries a NixOS fleet's secrets and its deploys.
//!
//! Data flows one way, and the layers show it: `fleet ← adapters ← commands ← cli`.
//! See `docs/architecture.md` for the whole picture.

pub mod adapters;
pub mod cli;
pub mod commands;
pub mod error;
pub mod fleet;
