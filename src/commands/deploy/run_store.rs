//! The deployer's state of a deploy, below the git directory: the plan, the progress of each host, and GC roots for the
//! systems. `--resume` continues from it, and `apply` uses the GC roots of a reviewed plan.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::git::Git;
use crate::adapters::nix::build::Rooted;
use crate::commands::agent::caller::Caller;
use crate::domain::deploy::diff::Outcome;
use crate::domain::deploy::plan::{Campaign, State, VERSION};
use crate::domain::name::HostName;
use crate::domain::versioned;
use crate::error::{Error, Kind, Result};

/// How many campaigns to keep, for `--attach` and `--resume`.
const KEPT: usize = 20;
/// The size limit of a campaign file, in bytes.
const LIMIT: u64 = 64 << 20;

/// The folder with the campaigns of a fleet.
pub struct Store {
    folder: PathBuf,
}

impl Store {
    pub fn of(git: &Git, fleet: &Path) -> Result<Self> {
        Ok(Self { folder: git.place_of(fleet)?.join("runs") })
    }

    /// Creates a folder for a new campaign. Removes folders that ended processes left without a plan, and the oldest
    /// ones.
    pub fn begin(&self) -> Result<Begun> {
        let names = self.names();
        let oldest = names.len().saturating_sub(KEPT);
        for (at, name) in names.iter().enumerate() {
            let folder = self.folder.join(name);
            let owner = files::read(&folder.join("process"), 32).unwrap_or_default();
            let orphan = !folder.join("run.json").exists()
                && !folder.join("planned").exists()
                && !Path::new("/proc").join(String::from_utf8_lossy(&owner).trim()).exists();
            // A campaign with hosts left is kept for `--resume`, however old.
            let left = || read(&folder.join("run.json")).is_ok_and(|campaign| !campaign.left().is_empty());
            if orphan || (at < oldest && !left()) {
                // A folder that cannot be removed only keeps store paths; the next run tries again.
                let _left = std::fs::remove_dir_all(folder);
            }
        }
        let run = Caller::run()?;
        let folder = self.folder.join(&run);
        let process = std::process::id().to_string();
        files::replace(&folder.join("process"), process.as_bytes(), 0o644, Durable::Later)?;
        Ok(Begun { rooted: Rooted::at(folder.join("roots"))?, run, folder })
    }

    /// Returns the campaigns with hosts left, oldest first. A host is left in at most one of them.
    pub fn left(&self) -> Result<Vec<(Begun, Campaign)>> {
        let mut open = Vec::new();
        for name in self.names() {
            let folder = self.folder.join(&name);
            let Ok(campaign) = read(&folder.join("run.json")) else { continue };
            if !campaign.left().is_empty() {
                let rooted = Rooted::at(folder.join("roots"))?;
                // Keeps the GC roots even if this attempt fails: the systems are needed until the hosts run them.
                rooted.stay();
                open.push((Begun { rooted, run: name, folder }, campaign));
            }
        }
        if open.is_empty() { Err(Error::failed("there is no deploy to resume")) } else { Ok(open) }
    }

    /// Returns the hosts of a campaign, or none if it is not known here.
    pub fn hosts_of(&self, run: &str) -> Vec<HostName> {
        let known = self.names().iter().any(|name| name == run);
        let campaign = known.then(|| read(&self.folder.join(run).join("run.json")).ok()).flatten();
        campaign.map_or_else(Vec::new, |campaign| campaign.hosts.into_keys().collect())
    }

    /// Returns the names of the campaigns, oldest first, because they begin with the time.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// The folder of a new campaign, whose GC roots are removed on drop unless they are kept.
pub struct Begun {
    pub rooted: Rooted,
    pub run: String,
    folder: PathBuf,
}

impl Begun {
    /// Saves the plan, which can then be resumed. The same hosts can no longer be resumed in other campaigns.
    pub fn keep(self, campaign: Campaign) -> Result<Kept> {
        self.supersede(&campaign)?;
        let kept = Kept { campaign: Mutex::new(campaign), rooted: self.rooted, folder: self.folder };
        kept.write(&kept.campaign.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(kept)
    }

    fn supersede(&self, by: &Campaign) -> Result<()> {
        let above = self.folder.parent().unwrap_or(&self.folder);
        for entry in std::fs::read_dir(above).into_iter().flatten().flatten() {
            let file = entry.path().join("run.json");
            let Ok(mut campaign) = read(&file) else { continue };
            let left = campaign.left();
            let hosts =
                campaign.hosts.iter_mut().filter(|(host, _)| left.contains(*host) && by.hosts.contains_key(*host));
            let count = hosts.map(|(_, item)| item.state = State::Superseded).count();
            if count > 0 {
                files::replace(&file, &text(&campaign)?, 0o644, Durable::Later)?;
            }
            if count > 0 && campaign.left().is_empty() {
                // A folder that cannot be removed only keeps store paths.
                let _left = std::fs::remove_dir_all(entry.path().join("roots"));
            }
        }
        Ok(())
    }

    /// Records which hosts have succeeded. Removes the campaign if no host is left.
    pub fn settle(self, well: impl Fn(&HostName) -> bool) -> Result<()> {
        let file = self.folder.join("run.json");
        let mut campaign = read(&file)?;
        let done = campaign.hosts.iter_mut().filter(|(host, _)| well(host));
        done.for_each(|(_, item)| item.state = State::Ended(Outcome::Done));
        if campaign.left().is_empty() {
            self.discard();
            return Ok(());
        }
        files::replace(&file, &text(&campaign)?, 0o644, Durable::Later)
    }

    /// Keeps the GC roots, so that the plan can be applied later. They are removed with the oldest campaigns.
    pub fn stay(self) -> Result<()> {
        files::replace(&self.folder.join("planned"), b"", 0o644, Durable::Later)?;
        self.rooted.stay();
        Ok(())
    }

    /// Returns itself if the outcome is a success. Otherwise discards the campaign.
    pub fn unless_failed(self, outcome: Result<()>) -> Result<Self> {
        match outcome {
            Ok(()) => Ok(self),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    pub fn discard(self) {
        drop(self.rooted);
        // A folder that cannot be removed only keeps store paths.
        let _left = std::fs::remove_dir_all(self.folder);
    }
}

/// A campaign that is saved.
pub struct Kept {
    campaign: Mutex<Campaign>,
    rooted: Rooted,
    folder: PathBuf,
}

impl Kept {
    /// Returns a copy of the current state.
    pub fn campaign(&self) -> Campaign {
        self.campaign.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Saves the state of a host.
    pub fn set(&self, host: &HostName, state: State) -> Result<()> {
        let mut campaign = self.campaign.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(item) = campaign.hosts.get_mut(host) {
            item.state = state;
        }
        self.write(&campaign)
    }

    /// Ends the campaign. Its GC roots stay only if hosts are left.
    pub fn end(self) {
        if !self.campaign().left().is_empty() {
            self.rooted.stay();
        }
    }

    fn write(&self, campaign: &Campaign) -> Result<()> {
        files::replace(&self.folder.join("run.json"), &text(campaign)?, 0o644, Durable::Later)
    }
}

/// Serializes a campaign.
fn text(campaign: &Campaign) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(campaign)
        .map_err(|error| Error::new(Kind::Bug, "cannot write the plan").because(error))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a plan to a file chosen by the user.
pub fn write(campaign: &Campaign, file: &Path) -> Result<()> {
    files::replace(file, &text(campaign)?, 0o644, Durable::Now)
}

/// Reads a campaign, such as a reviewed plan.
///
/// Fails with `Usage` if it is malformed, or of another version.
pub fn read(path: &Path) -> Result<Campaign> {
    let shown = path.display();
    let malformed = |fault| {
        Error::usage(format!("{shown} is not a plan ({})", versioned::place(&fault)))
            .help("make one: `sealift plan HOST -o FILE`")
    };
    versioned::read(&files::read(path, LIMIT)?, VERSION..=VERSION, malformed, |version| {
        Error::usage(format!("{shown} is of version {version}, and this sealift reads version {VERSION}"))
            .help("plan again with this sealift")
    })
}
