//! The secrets of a deploy: opened before anything is switched, put in place only for a system that cannot do so
//! itself, and rolled back. No other file of the agent's transaction uses `install`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapters::age::identity::Plugins;
use crate::adapters::fs::root::Root;
use crate::commands::install;
use crate::commands::talk::Talk;
use crate::domain::counted::counted;
use crate::domain::manifest::Manifest;
use crate::domain::manifest::install_status::Tree;
use crate::error::{Error, Result};

/// Both trees. Users' secrets come first, because the owners of other secrets may depend on them.
const TREES: [Tree; 2] = [Tree::Users, Tree::Ordinary];

/// The live generation of each tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    users: Option<u64>,
    ordinary: Option<u64>,
}

impl Live {
    pub fn of(root: &Root) -> Result<Self> {
        let generation = |tree| Ok::<_, Error>(install::status(root.path(), tree)?.map(|status| status.generation));
        Ok(Self { users: generation(Tree::Users)?, ordinary: generation(Tree::Ordinary)? })
    }

    fn get(self, tree: Tree) -> Option<u64> {
        match tree {
            Tree::Users => self.users,
            Tree::Ordinary => self.ordinary,
        }
    }
}

/// A manifest to deliver on a machine.
pub struct Delivery<'a> {
    pub root: &'a Root,
    pub manifest: &'a str,
    pub talk: Arc<dyn Talk>,
}

impl Delivery<'_> {
    fn requests(&self) -> Result<Vec<install::Request>> {
        let bytes = self
            .root
            .read(self.manifest)?
            .ok_or_else(|| Error::failed(format!("there is no manifest {}", self.manifest)))?;
        let manifest = Manifest::parse(&bytes)?;
        let wanted = |tree: &Tree| match tree {
            Tree::Users => manifest.placements.iter().any(|placement| placement.target.needed_for_users),
            Tree::Ordinary => true,
        };
        let request = |tree| install::Request {
            manifest: self.root.outside(self.manifest),
            root: self.root.path().to_owned(),
            identities: Vec::new(),
            tree,
            user_dir: None,
            strict: install::Strict::Always,
            plugins: Plugins::default(),
        };
        Ok(TREES.into_iter().filter(wanted).map(request).collect())
    }

    /// Opens and checks all secrets with the host's own keys, and changes nothing. Returns a line for the user. With
    /// `now` all owners must exist: the secrets are installed before the new system could create them.
    pub fn stage(&self, now: bool) -> Result<String> {
        // The same ciphertext is live and unmodified, so it was already opened during this boot.
        if let Ok(found) = install::compare(self.root, self.manifest)
            && !found.is_empty()
            && found.values().all(Option::is_none)
        {
            let are = if found.len() == 1 { "is" } else { "are" };
            return Ok(format!("{} {are} live already, as sealed", counted(found.len(), "secret")));
        }
        let owners = if now { install::Owners::MustExist } else { install::Owners::MayCome };
        let mut count = 0;
        for request in self.requests()? {
            count += install::stage(&request, &self.talk, owners)?.secrets.len();
        }
        Ok(format!("the host's keys open {}", counted(count, "secret")))
    }

    /// Installs all secrets.
    ///
    /// After an error one tree is unchanged; `take_back` undoes the other.
    pub fn install(&self) -> Result<()> {
        self.requests()?.iter().try_for_each(|request| match install::run(request, &self.talk)?.failure() {
            Some(error) => Err(error),
            None => Ok(()),
        })
    }
}

/// Makes the saved generations of secrets live again, if others are live now.
pub fn take_back(root: &Root, saved: Live) -> Result<()> {
    let mut failures = Vec::new();
    for tree in TREES {
        let live = Live::of(root)?.get(tree);
        if let Some(generation) = live.filter(|_| live != saved.get(tree)) {
            failures.extend(install::undo(root.path(), tree, generation)?);
        }
    }
    Error::unless_none(failures, |_| "the old secrets are back, but not all of it".to_owned())
}

/// Removes all delivered secrets.
pub fn take_all(root: &Root) -> Result<()> {
    TREES.into_iter().try_for_each(|tree| install::clear(root.path(), tree))
}
