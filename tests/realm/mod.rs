//! Deploys to machines with a real systemd, dbus, logind, sudo and nix daemon, which stand-ins cannot replace.
//! tests/realm/README.md says what is real there. After each test a machine must be exactly as expected.

mod address;
mod boot;
mod checklist;
mod failing;
mod homes;
mod killed;
mod record;
mod restricted;
mod sweep;
mod switching;
