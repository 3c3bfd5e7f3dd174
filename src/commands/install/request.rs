//! The request for an install, and its report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::adapters::age::identity::Plugins;
use crate::adapters::fs::lock;
use crate::adapters::host::systemd::Manager;
use crate::adapters::host::tmpfs::Run;
use crate::domain::manifest::install_status::{Outcome, Status, Tree};
use crate::error::{Error, Kind, Result};

/// How long a second install waits for the first.
const PATIENCE: Duration = Duration::from_secs(60);

/// The request for an install.
#[derive(Clone, Debug)]
pub struct Request {
    /// The manifest. Below `root` its path is resolved inside root, because the links of a system are absolute.
    pub manifest: PathBuf,
    /// The system's root: `/` for this machine.
    pub root: PathBuf,
    /// The private keys to use. If empty: those of the manifest, below `root`.
    pub identities: Vec<PathBuf>,
    pub tree: Tree,
    /// A directory in memory of the calling user. All files then belong to that user, and nothing is mounted.
    pub user_dir: Option<PathBuf>,
    /// When any failure stops the whole install.
    pub strict: Strict,
    /// The plugins that may run.
    pub plugins: Plugins,
}

impl Request {
    /// Opens the runtime directory to install into.
    pub(super) fn run(&self) -> Result<Run> {
        match &self.user_dir {
            Some(directory) => Run::of_user(directory),
            None => Run::make(&self.root),
        }
    }

    /// Returns the default path of a file.
    pub(super) fn usual(&self, name: &str) -> String {
        match &self.user_dir {
            Some(directory) => format!("{}/{}/{name}", directory.display(), self.tree.link()),
            None => format!("{}/{name}", self.tree.delivered()),
        }
    }

    /// Returns the service manager whose units use the secrets.
    pub(super) fn manager(&self) -> Manager {
        if self.user_dir.is_some() { Manager::User } else { Manager::Machine }
    }
}

/// When any failure stops the whole install.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strict {
    /// Never: whatever can be installed is installed.
    #[default]
    Never,
    Always,
    /// Only if secrets are live already: during a switch, but not at boot. One command serves both.
    WhenLive,
}

#[derive(Debug)]
pub struct Report {
    /// The status of the new generation, as written in it.
    pub status: Status,
    pub failures: Vec<Error>,
}

impl Report {
    /// Returns the error for a run with failures: exit code 5 if no key opened anything, else 4.
    pub fn failure(self) -> Option<Error> {
        if self.failures.is_empty() {
            return None;
        }
        let nothing = self.status.secrets.values().all(|entry| entry.outcome == Outcome::Failed);
        let keyless = self.failures.iter().all(|failure| failure.kind() == Kind::NoIdentity);
        let kind = if nothing && keyless { Kind::NoIdentity } else { Kind::Partial };
        let message = format!("{} failures; what could be installed is installed", self.failures.len());
        Some(Error::batch(message, self.failures).of_kind(kind))
    }
}

/// Returns the status of the live generation, or none if nothing is installed.
pub fn status(root: &Path, tree: Tree) -> Result<Option<Status>> {
    let Some(run) = Run::open(root)? else { return Ok(None) };
    run.live_generation(tree)?.map_or(Ok(None), |generation| generation.status())
}

/// Takes the lock that allows one install at a time.
pub(super) fn take_lock(run: &Run, who: &str) -> Result<lock::Lock> {
    lock::take(&run.fd, &run.shown.join("sealift.lock").display().to_string(), who, PATIENCE)
}
