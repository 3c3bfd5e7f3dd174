//! Hosts from the deployer's side: which are selected, how each is reached and with which rights, and requests to the
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
