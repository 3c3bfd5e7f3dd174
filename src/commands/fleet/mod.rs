//! Verbs about the fleet: its policy, hosts, admins and state.

pub mod admin;
pub mod check;
pub mod cleanup;
pub mod doctor;
pub mod hardware;
pub mod host;
pub mod identity;
pub mod init;
pub mod manifest;
pub mod new_key;
pub mod onboard;
pub mod progress;
pub mod provision;
pub mod removal;
pub mod status;
pub mod superseded;
pub mod takeover;
pub mod verify;
