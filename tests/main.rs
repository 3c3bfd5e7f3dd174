//! End-to-end tests: the real binary, real age, git, ssh-keygen, nix and keyring, in a sealed box each. One program, so
//! that it is linked once.

mod edit;
mod harness;
mod identity;
mod plugin;
mod seal;
