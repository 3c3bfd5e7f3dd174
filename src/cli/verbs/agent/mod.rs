//! Verbs that a host runs as root.

#[cfg(target_os = "linux")]
pub mod host_run;
#[cfg(target_os = "linux")]
pub mod install;
pub mod provision;
