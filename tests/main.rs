//! End-to-end tests with the real binary, and real age, git, ssh-keygen, nix and keyring, each in a sandbox. One test
//! program, so that it is linked once.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::needless_raw_string_hashes,
    clippy::panic,
    clippy::string_slice,
    clippy::unused_self,
    clippy::unwrap_used,
    clippy::verbose_file_reads,
    reason = "tests stop at the first surprise, and make and break files by hand"
)]

mod admin;
mod adopt;
mod architecture;
mod attacks;
mod cctv;
mod check;
mod completion;
mod crash;
mod deploy;
mod deploy_back;
mod doctor;
mod documents;
mod edit;
mod hardware;
mod harness;
mod host_run;
mod hostile;
mod identity;
mod import;
mod install;
mod list;
mod migration;
mod nix_check;
mod nix_files;
mod nix_fleet;
mod nix_install;
mod nix_lib;
mod nix_mistakes;
mod nix_module;
mod nix_options;
mod nix_real;
mod onboard;
mod plugin;
mod readme;
mod realm;
mod rekey;
mod remote;
mod residue;
mod rollback;
mod scan;
mod seal;
mod snapshots;
mod staging;
mod traps;
mod weak_keys;
mod words;
