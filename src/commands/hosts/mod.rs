//! Hosts as the deployer sees them: which ones are selected, how each is reached and with which rights, and what is asked of the
//! program there.

pub mod bootstrap;
pub mod client;
pub mod connection;
pub mod identify;
pub mod privilege;
pub mod ready;
pub mod remote;
pub mod select;
pub mod talk;
