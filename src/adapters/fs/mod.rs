//! The file system: files, locks, the root of a machine, and changes of several files as one.

pub mod beneath;
pub mod changes;
pub mod files;
pub mod lock;
pub mod owner;
pub mod root;
pub mod transaction;
