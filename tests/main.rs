//! End-to-end tests: the real binary, real age, git, ssh-keygen, nix and keyring, in a sealed box each. One program, so
//! that it is linked once.

mod deploy;
mod deploy_back;
mod harness;
mod rollback;
mod check;
mod crash;
mod harness;
mod rekey;
mod install;
mod plugin;
mod seal;
