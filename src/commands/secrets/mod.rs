//! Verbs about secrets: write, read, list, re-encrypt, rotate, rename.

pub mod agree;
pub mod edit;
pub mod list;
pub mod matrix;
pub mod rekey;
pub mod rename;
pub mod reseal;
pub mod rotate;
pub mod seal;
pub mod show;
pub mod vouch;
pub mod who;
