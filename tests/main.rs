//! End-to-end tests: the real binary, real age, git, ssh-keygen, nix and keyring, in a sealed box each. One program, so
//! that it is linked once.

mod architecture;
mod check;
mod crash;
mod documents;
mod harness;
mod rekey;
mod install;
mod plugin;
mod readme;
mod seal;
