//! End-to-end tests: the real binary, real age, git, ssh-keygen, nix and keyring, in a sealed box each. One program, so
//! that it is linked once.

mod architecture;
mod check;
mod crash;
mod deploy;
mod deploy_back;
mod documents;
mod edit;
mod harness;
mod host_run;
mod identity;
mod install;
mod plugin;
mod readme;
mod rekey;
mod rollback;
mod seal;
