//! The outside world, one thing a file. Adapters know the domain and nothing of verbs, arguments or output.

pub mod accounts;
pub mod age;
pub mod ask;
pub mod bounded;
pub mod editor;
pub mod files;
pub mod generate;
pub mod generation;
pub mod git;
pub mod identity;
pub mod journal;
pub mod keyring;
pub mod parallel;
pub mod links;
pub mod lock;
pub mod plugin;
pub mod process;
pub mod repository;
pub mod scratch;
pub mod search;
pub mod signals;
pub mod systemd;
pub mod volatile;
pub mod terminal;
pub mod user_config;
