//! Nix source, read by its syntax alone: what it gives away, and how one expression of it is replaced.

pub mod edit;
pub mod finding;
pub mod guard;
pub mod hosts;
pub mod judge;
pub mod literal;
pub mod options;
pub mod redact;
pub mod rules;
mod scope;
pub mod settings;
pub mod syntax;
pub mod walk;
