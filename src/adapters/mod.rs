//! The outside world, one thing per folder or file. Adapters know the domain and nothing of verbs, arguments or output.

pub mod age;
pub mod archive;
pub mod backup;
pub mod descriptor;
pub mod editor;
pub mod flake;
pub mod fs;
pub mod git;
pub mod host;
pub mod nix;
pub mod pager;
pub mod process;
pub mod prompt;
pub mod repository;
pub mod signals;
pub mod ssh;
#[cfg_attr(not(target_os = "linux"), path = "system_elsewhere.rs")]
pub mod system;
#[cfg(all(test, target_os = "linux"))]
#[expect(dead_code, reason = "some of it is only of use elsewhere; the rest is held against the kernel")]
mod system_elsewhere;
pub mod terminal;
pub mod user_config;
