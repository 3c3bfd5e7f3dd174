//! The outside world, one thing a file. Adapters know the domain and nothing of verbs, arguments or output.

pub mod age;
pub mod ask;
pub mod files;
pub mod generate;
pub mod git;
pub mod identity;
pub mod journal;
pub mod process;
pub mod repository;
pub mod signals;
pub mod terminal;
