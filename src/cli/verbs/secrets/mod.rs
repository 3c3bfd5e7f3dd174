//! Verbs about secrets.

pub mod edit;
pub mod list;
pub mod rekey;
pub mod rename;
pub mod rotate;
pub mod seal;
pub mod show;
pub mod who;
