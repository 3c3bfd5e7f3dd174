//! The domain: names, recipients, policy, seal, plan, manifest, shapes, findings. Values and decisions only: nothing
//! here touches a file, a process, the clock, the environment or a terminal.

pub mod address;
pub mod delivery;
pub mod deployment;
pub mod doctor;
pub mod finding;
pub mod generations;
pub mod header;
pub mod installed;
pub mod inventory;
pub mod manifest;
pub mod name;
pub mod order;
pub mod plaintext;
pub mod plan;
pub mod policy;
pub mod policy_edit;
pub mod policy_file;
pub mod policy_raw;
pub mod progress;
pub mod recipient;
pub mod rollout;
pub mod scaffold;
pub mod scan;
pub mod seal;
pub mod shape;
pub mod standing;
pub mod superseded;
pub mod survey;
pub mod target;
pub mod template;
