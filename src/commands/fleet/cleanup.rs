//! `cleanup`: removes the files of a previous layout after every host runs its deployed system and is verified. Only
//! files that are committed unchanged, so `git revert` restores everything.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::adapters::fs::files;
use crate::commands::fleet::progress;
use crate::commands::fleet::superseded::{self, Former};
use crate::commands::hosts::select::Who;
use crate::commands::{Changes, Session};
use crate::domain::migrate::progress::is_settled;
use crate::domain::migrate::superseded::Superseded;
use crate::error::{Error, Kind, Result};

/// The size limit of a file to remove, in bytes, because it is compared with git.
const LIMIT: u64 = 64 << 20;

/// The files to remove, and those that stay.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The files that were removed, or would be.
    pub removed: Vec<Superseded>,
    /// Files that have a successor but stay, with the reason.
    pub left: Vec<Superseded>,
    /// Whether nothing is removed.
    pub dry_run: bool,
}

/// The files to remove, with their content.
pub struct CleanupPlan {
    report: Report,
    contents: BTreeMap<String, Vec<u8>>,
}

impl CleanupPlan {
    pub fn report(&self) -> &Report {
        &self.report
    }
}

pub fn plan(session: &Session, who: &Who, dry_run: bool) -> Result<CleanupPlan> {
    let mut waits = Vec::new();
    for row in progress::run(session, who)?.into_iter().filter(|row| !is_settled(&row.steps)) {
        let unknown = row.steps.iter().any(|mark| mark.done.is_none() && mark.step != "cleaned up");
        let open: Vec<String> = row
            .steps
            .into_iter()
            .filter(|mark| mark.done != Some(true) && ["deployed", "verified"].contains(&mark.step))
            .flat_map(|mark| mark.open)
            .collect();
        let kind = if unknown { Kind::Unreachable } else { Kind::Drift };
        waits.push(
            Error::new(kind, format!("{} is not verified: nothing is removed", row.host)).because(open.join("\n")),
        );
    }
    if !waits.is_empty() {
        let all = Error::batch(format!("{} machines are not verified yet", waits.len()), waits);
        return Err(all.help("`sealift status --progress` shows how far each machine is"));
    }
    let git = session.fleet.git()?;
    let Former { superseded: found, not_looked_at, .. } = superseded::look(session)?;
    if let Some(first) = not_looked_at.first() {
        return Err(Error::new(Kind::Incomplete, "what the Nix files name could not be read; nothing was removed")
            .because(first.clone()));
    }
    let names: Result<Vec<String>> =
        found.iter().map(|one| Ok(format!("HEAD:{}", git.relative(&session.fleet.root.join(&one.path))?))).collect();
    let committed = git.objects(&names?)?;
    let report = Report { removed: Vec::new(), left: Vec::new(), dry_run };
    let mut plan = CleanupPlan { report, contents: BTreeMap::new() };
    for (one, committed) in found.into_iter().zip(committed) {
        let stays = |why: &str| Superseded { path: one.path.clone(), why: why.to_owned() };
        match (files::read(&session.fleet.root.join(&one.path), LIMIT), committed) {
            (Ok(bytes), Some(committed)) if bytes == committed => {
                plan.contents.insert(one.path.clone(), bytes);
                plan.report.removed.push(one);
            }
            (Ok(_), Some(_)) => plan.report.left.push(stays("it differs from the last commit")),
            (Ok(_), None) => plan.report.left.push(stays("it is in no commit yet")),
            (Err(error), _) => plan.report.left.push(stays(&error.in_one_line())),
        }
    }
    Ok(plan)
}

/// Removes the files from the work tree and git's index.
///
/// Fails without any removal if one of them has changed.
pub fn carry_out(session: &mut Session, plan: CleanupPlan) -> Result<Report> {
    let (git, journal) = session.lock()?;
    let mut changes = Changes::default();
    for (path, bytes) in &plan.contents {
        changes.remove(path.as_str(), bytes);
    }
    session.commit(&git, &journal, &changes)?;
    Ok(plan.report)
}
