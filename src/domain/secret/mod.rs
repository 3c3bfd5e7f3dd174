//! A secret: its value, the format it must have, the keys it is encrypted to, and the resulting file.

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
