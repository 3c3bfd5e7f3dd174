//! End-to-end tests: the real binary, real age, git, ssh-keygen, nix and keyring, in a sealed box each. One program, so
//! that it is linked once.

mod edit;
mod harness;
mod identity;
mod architecture;
mod check;
mod crash;
mod documents;
mod deploy;
mod deploy_back;
mod harness;
mod host_run;
mod install;
mod plugin;
mod readme;
mod rekey;
mod rollback;
mod seal;
