//! Nix source, analyzed by its syntax only: finding secrets in it, and replacing single expressions.

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
