//! The checks before any expensive work: reports all problems at once, each with help.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::adapters::flake::{self, Flake};
use crate::adapters::fs::owner::{self, Others, Owner};
use crate::adapters::git::Git;
use crate::adapters::repository::Fleet;
use crate::commands::scan;
use crate::commands::talk::{Event, Talk};
use crate::domain::address::quoted;
use crate::domain::drift::audit::{AuditFinding, AuditRule, audit};
use crate::domain::drift::same::{Shown, shown};
use crate::domain::level::Level;
use crate::domain::policy;
use crate::domain::tracked::{IGNORED, UNMERGED, UNTRACKED, settle};
use crate::error::{Error, Kind, Result};

/// What builds need.
pub struct Prepared {
    pub git: Git,
    pub flake: Flake,
}

/// Checks the fleet itself, and returns the problems that affect every host.
pub fn fleet(
    fleet: &Fleet,
    git: Git,
    flake_at: Option<&str>,
    today: Date,
    talk: &dyn Talk,
) -> Result<Prepared, Vec<Error>> {
    let (flake, mut problems) = match flake(fleet, &git, flake_at) {
        Ok(flake) => (Some(flake), Vec::new()),
        Err(problem) => (None, vec![problem]),
    };
    problems.extend(owner(&git));
    problems.extend(unseen(fleet, &git));
    problems.extend(scan::staged_problems(&git, &fleet.policy));
    problems.extend(drift(fleet, today, talk));
    match flake {
        Some(flake) if problems.is_empty() => Ok(Prepared { git, flake }),
        _ => Err(problems),
    }
}

/// Returns the flake to build: the fleet's own, or the one in the given directory.
fn flake(fleet: &Fleet, git: &Git, named: Option<&str>) -> Result<Flake> {
    let directory = match named {
        None => flake::folder(&fleet.root, &git.top).unwrap_or(&fleet.root).to_owned(),
        Some(text) if text.starts_with("path:") => {
            return Err(Error::usage("a `path:` flake copies everything into the store, also what git ignores")
                .help("name the directory itself, without `path:`"));
        }
        Some(text) => {
            let text = text.strip_prefix("git+file://").unwrap_or(text);
            if text.contains(':') || text.contains('#') || text.contains('?') {
                return Err(Error::usage(format!("--flake {text}: what is deployed is the fleet's own git work tree"))
                    .help("name a directory of it with `--flake DIR`"));
            }
            std::fs::canonicalize(text)
                .map_err(|error| Error::usage(format!("there is no directory {text}")).because(error))?
        }
    };
    if !directory.starts_with(&git.top) || !directory.join("flake.nix").is_file() {
        in_submodule(fleet, git)?;
    }
    Flake::of(git, &directory)
}

/// Refuses a fleet in a submodule whose flake is outside: a git flake does not see files of its submodules.
fn in_submodule(fleet: &Fleet, git: &Git) -> Result<()> {
    let Some(above) = git.above() else { return Ok(()) };
    let (inner, above) = (git.top.display(), above.display());
    Err(Error::usage(format!(
        "{} is in the git submodule {inner}, and a flake in {above} does not see the files of its submodules",
        fleet.root.display()
    ))
    .help(format!(
        "move recipients.toml and secrets/ into {above}, beside its flake.nix; or make the submodule a flake of its own, with a flake.nix that has the nixosConfigurations, and deploy that"
    )))
}

/// A repository is evaluated as its owner: as root, a user's repository would run with root's rights.
fn owner(git: &Git) -> Option<Error> {
    let stat = rustix::fs::stat(&git.top).ok()?;
    (owner::us() == 0 && !owner::is_of(&stat, Owner::Us, Others::Anybody)).then(|| {
        Error::failed(format!("{} belongs to another user, and is not evaluated as root", git.top.display()))
            .help("run sealift as that user: it asks for root where it needs it")
    })
}

/// Returns problems for untracked, ignored and unmerged files. Nix does not see files that git does not track, so the
/// system would silently lack them.
fn unseen(fleet: &Fleet, git: &Git) -> Vec<Error> {
    let places = ["secrets", "hosts", policy::FILE, "flake.nix", "flake.lock"].map(|name| fleet.root.join(name));
    let there: Vec<&Path> =
        places.iter().map(PathBuf::as_path).filter(|path| path.symlink_metadata().is_ok()).collect();
    let status = match git.status(&there) {
        Ok(status) => status,
        Err(error) => return vec![error],
    };
    let sealed = |path: &&String| Path::new(path).extension().is_some_and(|end| end == "age");
    let add = |path: &str, word: &str| format!("`git add{word} -- {}`, or remove it", quoted(path));
    let untracked = status.untracked.iter().map(|path| (path, UNTRACKED, add(path, "")));
    let ignored = status.ignored.iter().filter(sealed).map(|path| (path, IGNORED, add(path, " -f")));
    let unmerged = status.unmerged.iter().map(|path| (path, UNMERGED, settle(path).to_owned()));
    let all = untracked.chain(ignored).chain(unmerged);
    all.map(|(path, what, help)| Error::failed(format!("{path}: {what}")).help(help)).collect()
}

/// Returns the errors of `check`. Values that a removed host still knows are only warnings, because a deploy is what
/// fixes them.
fn drift(fleet: &Fleet, today: Date, talk: &dyn Talk) -> Vec<Error> {
    let inventory = match fleet.inventory() {
        Ok(inventory) => inventory,
        Err(error) => return vec![error],
    };
    let (known, found): (Vec<AuditFinding>, Vec<AuditFinding>) =
        audit(&fleet.policy, &fleet.policy.keys(), &inventory, today)
            .into_iter()
            .filter(|finding| finding.level == Level::Error)
            .partition(|finding| finding.rule == AuditRule::KnownToRetired);
    for Shown { what, help, .. } in shown(&known) {
        talk.event(Event::Warning(format!("{what}; {help}")));
    }
    shown(&found).into_iter().map(|found| Error::new(Kind::Drift, found.what).help(found.help)).collect()
}
