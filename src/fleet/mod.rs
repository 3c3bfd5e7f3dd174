//! The domain: names, recipients, policy, seal, plan, manifest, shapes, findings. Values and decisions only: nothing
//! here touches a file, a process, the clock, the environment or a terminal.

pub mod address;
pub mod agenix_rules;
pub mod delivery;
pub mod deployment;
pub mod finding;
pub mod generations;
pub mod gitconfig;
pub mod header;
pub mod installed;
pub mod inventory;
pub mod manifest;
pub mod name;
pub mod nix_edit;
pub mod nix_guard;
pub mod nix_literal;
pub mod nix_options;
pub mod nix_shown;
pub mod nix_source;
pub mod nix_tree;
pub mod nix_walk;
pub mod order;
pub mod plaintext;
pub mod plan;
pub mod policy;
pub mod policy_edit;
pub mod policy_file;
pub mod policy_raw;
pub mod recipient;
pub mod rollout;
pub mod seal;
pub mod shape;
pub mod standing;
pub mod survey;
