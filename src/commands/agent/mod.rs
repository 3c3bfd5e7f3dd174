//! The program on the host: carries out one request and reports its progress. It runs independently of the deployer
//! that started it: without its terminal or session, and without a listener.

pub mod caller;
pub mod checks;
#[cfg(target_os = "linux")]
mod close;
pub mod events;
mod follow;
#[cfg(target_os = "linux")]
mod gc_roots;
pub mod generations;
mod heard;
#[cfg(target_os = "linux")]
mod journal;
mod keep;
pub mod launch;
#[cfg(target_os = "linux")]
mod program;
pub mod provision;
#[cfg(target_os = "linux")]
mod rollback;
#[cfg(target_os = "linux")]
pub mod secrets;
pub mod survey;
mod switch;
#[cfg(target_os = "linux")]
mod transaction;

#[cfg(target_os = "linux")]
pub use crate::commands::agent::program::{Part, recover, run};
