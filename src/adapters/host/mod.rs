//! A NixOS machine, looked at and changed on that machine itself: accounts, systemd, profiles, delivered secrets.

pub mod accounts;
pub mod ack;
pub mod activation;
pub mod closure;
mod directory;
pub mod etc_nixos;
pub mod facts;
pub mod generation;
pub mod home;
pub mod host_key;
pub mod links;
pub mod probe;
pub mod profile;
pub mod run_dir;
pub mod systemd;
pub mod tmpfs;
pub mod unit_log;
pub mod units;
