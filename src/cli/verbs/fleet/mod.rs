//! Verbs about the fleet.

pub mod admin;
pub mod check;
pub mod cleanup;
pub mod doctor;
pub mod host;
pub mod identity;
pub mod init;
pub mod manifest;
pub mod status;
pub mod verify;
