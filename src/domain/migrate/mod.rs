//! The way into a fleet: what other tools and earlier layouts left, and what a new machine's files hold.

pub mod agenix;
pub mod gitconfig;
pub mod progress;
pub mod scaffold;
pub mod superseded;
