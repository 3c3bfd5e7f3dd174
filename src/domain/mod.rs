//! The domain: values and decisions only. Nothing here touches a file, a process, the clock, the environment or a terminal.

pub mod address;
pub mod counted;
pub mod deploy;
pub mod doctor;
pub mod drift;
pub mod foreign;
pub mod guarded;
pub mod level;
pub mod line;
pub mod manifest;
pub mod migrate;
pub mod name;
pub mod nix;
pub mod policy;
mod prefilter;
pub mod rule_info;
pub mod scan;
pub mod secret;
mod toml_one;
pub mod tracked;
pub mod versioned;
