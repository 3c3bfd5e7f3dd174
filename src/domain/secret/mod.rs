//! A secret: its value, the form that it must have, the keys that it is encrypted to, and the file that it becomes.

pub mod age_header;
pub mod inventory;
pub mod plaintext;
pub mod plugin_identity;
pub mod reading;
pub mod recipient;
pub mod seal;
pub mod shape;
pub mod ssh_wire;
pub mod traces;
pub mod written;
