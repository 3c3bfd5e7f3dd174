//! Compares the files under `secrets/` with the policy, from public data alone: who gains and who loses access, what
//! `check` reports, and what a rekey changes.

pub mod access;
pub mod audit;
pub mod lacking;
pub mod rekey_plan;
pub mod same;
pub mod status;
