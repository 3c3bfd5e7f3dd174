//! deploy to other machines: real hosts in namespaces, real SSH, real copies between stores.

mod address;
mod homes;
mod killed;
mod liars;
mod many;
mod migration;
mod names;
mod plans;
mod shells;
mod strangers;
mod switching;
mod trust;
pub mod wrong;
