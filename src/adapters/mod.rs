//! The outside world, one thing a file. Adapters know the domain and nothing of verbs, arguments or output.

pub mod accounts;
pub mod activation;
pub mod age;
pub mod ask;
pub mod bench;
pub mod files;
pub mod generate;
pub mod generation;
pub mod git;
pub mod identity;
pub mod journal;
pub mod links;
pub mod lock;
pub mod nix;
pub mod probe;
pub mod process;
pub mod profile;
pub mod repository;
pub mod rooted;
pub mod signals;
pub mod system;
pub mod systemd;
pub mod units;
pub mod volatile;
