//! The file system: files, locks, a machine's root, and atomic changes of several files.

pub mod beneath;
pub mod changes;
pub mod files;
pub mod lock;
pub mod owner;
pub mod root;
pub mod transaction;
