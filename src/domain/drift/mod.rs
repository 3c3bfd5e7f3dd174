//! The files under `secrets/` held against the policy, from public data alone: who gains and who loses access, what `check`
//! finds, and what a rekey changes.

pub mod access;
pub mod audit;
pub mod lacking;
pub mod rekey_plan;
pub mod same;
pub mod status;
