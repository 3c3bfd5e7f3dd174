//! Moving into a fleet: what other tools and earlier layouts left behind, and the files for a new machine.

pub mod agenix;
pub mod gitconfig;
pub mod progress;
pub mod scaffold;
pub mod superseded;
