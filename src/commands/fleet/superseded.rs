//! Files of a previous layout in the repository, for `cleanup` and `status --progress`.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapters::git::layout;
use crate::commands::Session;
use crate::domain::doctor::text;
use crate::domain::migrate::superseded::{Superseded, superseded};
use crate::domain::name::Configuration;
use crate::error::Result;

/// The files of the repository and of its previous layout.
pub struct Former {
    /// The files that have a successor.
    pub superseded: Vec<Superseded>,
    /// All tracked files below the fleet, relative to it.
    pub tracked: BTreeSet<String>,
    /// Files that could not be read. They may name other files.
    pub not_looked_at: Vec<String>,
}

pub fn look(session: &Session) -> Result<Former> {
    let git = session.fleet.git()?;
    let top = git.relative(&session.fleet.root)?;
    let below = |path: &str| {
        if top.is_empty() {
            Some(path.to_owned())
        } else {
            path.strip_prefix(&top)?.strip_prefix('/').map(str::to_owned)
        }
    };
    let gathered = layout::gather(&git)?;
    let untracked: BTreeSet<&String> = gathered.repository.untracked.iter().collect();
    let tracked: BTreeSet<String> =
        git.listed()?.iter().filter(|path| !untracked.contains(path)).filter_map(|path| below(path)).collect();
    let named: BTreeMap<String, Vec<String>> = gathered
        .texts
        .iter()
        .filter(|(path, _)| path.ends_with(".nix"))
        .filter_map(|(path, text)| {
            let all = text::paths(path, text).into_iter().filter_map(|(_, path)| below(&path.ok()?));
            Some((below(path)?, all.collect()))
        })
        .collect();
    let hosts: Vec<&Configuration> = session.fleet.policy.hosts.values().map(|host| &host.configuration).collect();
    let superseded = superseded(&tracked, &hosts, &named);
    Ok(Former { superseded, tracked, not_looked_at: gathered.not_looked_at })
}
