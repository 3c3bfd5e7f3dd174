//! Deploys to machines with a real systemd, dbus, logind, sudo and nix daemon: what stand-ins cannot tell. tests/realm/README.md
//! says what is real there. At the end of each test a machine must be exactly as it should be.

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
