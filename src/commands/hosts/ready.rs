//! The checks of a host before a system is copied to it: reports all problems at once, each with help.

use crate::adapters::host::{closure, run_dir};
use crate::adapters::nix::{store, trust};
use crate::commands::agent::survey::ROOM;
use crate::commands::hosts::connection::{Target, Transport};
use crate::domain::doctor::machine::FREE_BOOT;
use crate::error::{Error, Kind, Result};

/// How a system gets to the host.
#[derive(Clone, Copy, Debug)]
pub struct Brings {
    /// Whether the fleet's key signs what is copied.
    pub signed: bool,
    /// Whether it is built there.
    pub builds: bool,
}

/// Checks a host that was reached, and returns all problems, including earlier ones that its survey shows.
pub fn host(target: &Target, brings: Brings) -> Result<()> {
    let survey = &target.survey;
    let mut problems = Vec::new();
    if let Some(holder) = &survey.busy {
        problems.push(busy(target, holder));
    }
    problems.extend(nixos(target).err());
    for (inside, what, least) in ROOM {
        if let Some(free) = survey.free.get(inside).filter(|free| **free < least) {
            let place = match &target.transport {
                Transport::Local(root) => root.outside(inside).display().to_string(),
                Transport::Remote(_) => format!("{}:{inside}", target.shown()),
            };
            problems.push(
                Error::failed(format!("{place} has {} MiB left; {what} needs {} MiB", free >> 20, least >> 20))
                    .help(room(inside)),
            );
        }
    }
    match &target.transport {
        Transport::Local(root) => {
            for place in [run_dir::LOCK, "/var/lib/sealift", closure::BUNDLES] {
                problems.extend(root.writable(place).err());
            }
        }
        Transport::Remote(remote) => {
            let (host, trust) = (target.shown(), &survey.trust);
            match (remote.connection().takes_copies(), &trust.unknown) {
                (Err(problem), _) => problems.push(problem),
                (Ok(()), Some(why)) => problems.push(
                    Error::failed(format!("nix on {host} does not say which users it trusts"))
                        .because(why.clone())
                        .help(format!("try it there by hand: `{}`", trust::ASKS.join(" "))),
                ),
                _ if trust.barred => problems.push(trust::barred(&host, &survey.user)),
                _ if !trust.user && !brings.signed && !brings.builds => {
                    problems.push(trust::untrusted(&host, &survey.user));
                }
                _ => {}
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(together(problems)) }
}

/// Returns how to free space in a path.
fn room(place: &str) -> &'static str {
    match place {
        "/boot" => FREE_BOOT,
        "/nix/store" => store::FREE,
        _ => "see what takes it: `sudo du -xhd2 /var/lib`",
    }
}

/// Whether systems can be activated on this machine.
pub fn nixos(target: &Target) -> Result<()> {
    let is_machine = match &target.transport {
        Transport::Local(root) => root.is_machine(),
        Transport::Remote(_) => true,
    };
    if !is_machine || target.survey.nixos {
        return Ok(());
    }
    let name = if target.is_remote() { target.shown() } else { "this machine".to_owned() };
    Err(Error::failed(format!("{name} is not NixOS"))
        .help("name a host, or the root of a NixOS with `--root DIR`; `deploy --action build` only builds"))
}

/// Returns the error for a host on which another deploy is running.
pub fn busy(target: &Target, holder: &str) -> Error {
    run_dir::busy(&target.place(), holder)
}

/// Combines several problems into one error.
pub fn together(problems: Vec<Error>) -> Error {
    let kind = problems.first().map_or(Kind::Bug, Error::kind);
    let same = problems.iter().all(|problem| problem.kind() == kind);
    let count = problems.len();
    Error::batch(format!("{count} preconditions are not met; nothing was changed"), problems).of_kind(if same {
        kind
    } else {
        Kind::Failed
    })
}
