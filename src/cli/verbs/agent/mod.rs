//! Verbs that a host runs as root.

pub mod host_run;
pub mod install;
pub mod provision;
