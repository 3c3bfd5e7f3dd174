//! Deploys: what is known about a host, what will change on it, and the protocol between deployer and host.

pub mod checks;
pub mod diff;
pub mod generations;
pub mod home;
pub mod host_facts;
pub mod packages;
pub mod plan;
pub mod protocol;
pub mod secret_changes;
pub mod shown;
pub mod soak;
pub mod switched;
