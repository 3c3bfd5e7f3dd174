//! A NixOS machine, inspected and changed on that machine itself: accounts, systemd, profiles, delivered secrets.

pub mod accounts;
#[cfg(target_os = "linux")]
pub mod ack;
#[cfg(target_os = "linux")]
pub mod activation;
pub mod closure;
#[cfg(target_os = "linux")]
mod directory;
pub mod etc_nixos;
pub mod facts;
#[cfg(target_os = "linux")]
pub mod generation;
pub mod home;
pub mod host_key;
#[cfg(target_os = "linux")]
pub mod links;
pub mod probe;
pub mod profile;
pub mod run_dir;
pub mod systemd;
#[cfg(target_os = "linux")]
pub mod tmpfs;
pub mod unit_log;
pub mod units;
