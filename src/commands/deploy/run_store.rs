//! What the deployer keeps of a deploy, below the git directory: what was planned, how far each host is, and links that
//! keep the systems from the collector. So `--resume` takes up what is left, and `apply` what was reviewed.

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

/// How many are kept, for `--attach` and `--resume`.
const KEPT: usize = 20;
/// The largest file of one, in bytes.
const LIMIT: u64 = 64 << 20;

/// Where the campaigns of a fleet are.
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Below the git directory of a fleet's repository.
    pub fn of(git: &Git, fleet: &Path) -> Result<Self> {
        Ok(Self { folder: git.place_of(fleet)?.join("runs") })
    }

    /// A folder for a new campaign. What processes that are gone left without a plan is removed, and the oldest ones.
    pub fn begin(&self) -> Result<Begun> {
        let names = self.names();
        let oldest = names.len().saturating_sub(KEPT);
        for (at, name) in names.iter().enumerate() {
            let folder = self.folder.join(name);
            let owner = files::read(&folder.join("process"), 32).unwrap_or_default();
            let orphan = !folder.join("run.json").exists()
                && !folder.join("planned").exists()
                && !Path::new("/proc").join(String::from_utf8_lossy(&owner).trim()).exists();
            // What is left to do is kept for `--resume`, however long ago.
            let left = || read(&folder.join("run.json")).is_ok_and(|campaign| !campaign.left().is_empty());
            if orphan || (at < oldest && !left()) {
                // What cannot be removed only keeps a store path alive; the next run tries again.
                let _left = std::fs::remove_dir_all(folder);
            }
        }
        let run = Caller::run()?;
        let folder = self.folder.join(&run);
        let process = std::process::id().to_string();
        files::replace(&folder.join("process"), process.as_bytes(), 0o644, Durable::Later)?;
        Ok(Begun { rooted: Rooted::at(folder.join("roots"))?, run, folder })
    }

    /// The campaigns that have something left to do, oldest first. A host is left in one of them at most.
    pub fn left(&self) -> Result<Vec<(Begun, Campaign)>> {
        let mut open = Vec::new();
        for name in self.names() {
            let folder = self.folder.join(&name);
            let Ok(campaign) = read(&folder.join("run.json")) else { continue };
            if !campaign.left().is_empty() {
                let rooted = Rooted::at(folder.join("roots"))?;
                // Whatever becomes of this attempt: the systems are needed until the hosts run them.
                rooted.stay();
                open.push((Begun { rooted, run: name, folder }, campaign));
            }
        }
        if open.is_empty() { Err(Error::failed("there is no deploy to resume")) } else { Ok(open) }
    }

    /// The hosts of a campaign; none where it is not known here.
    pub fn hosts_of(&self, run: &str) -> Vec<HostName> {
        let known = self.names().iter().any(|name| name == run);
        let campaign = known.then(|| read(&self.folder.join(run).join("run.json")).ok()).flatten();
        campaign.map_or_else(Vec::new, |campaign| campaign.hosts.into_keys().collect())
    }

    /// The campaigns, oldest first: their names begin with the time.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// A campaign's folder. Unless it is kept, it goes with this.
pub struct Begun {
    /// Keeps store paths from the collector.
    pub rooted: Rooted,
    pub run: String,
    folder: PathBuf,
}

impl Begun {
    /// Writes down what was planned. From now on it can be taken up, and what was left of others for the same hosts can
    /// not.
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
                // What cannot be removed only keeps a store path alive.
                let _left = std::fs::remove_dir_all(entry.path().join("roots"));
            }
        }
        Ok(())
    }

    /// Writes down which hosts are well by now; with the last of them it goes.
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

    /// Leaves the links, for who applies the plan later. They go when this campaign is one of the oldest.
    pub fn stay(self) -> Result<()> {
        files::replace(&self.folder.join("planned"), b"", 0o644, Durable::Later)?;
        self.rooted.stay();
        Ok(())
    }

    /// Itself again; with an error it goes.
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
        // As in `begin`.
        let _left = std::fs::remove_dir_all(self.folder);
    }
}

/// A campaign that is written down.
pub struct Kept {
    campaign: Mutex<Campaign>,
    rooted: Rooted,
    folder: PathBuf,
}

impl Kept {
    /// A copy of it as it is now.
    pub fn campaign(&self) -> Campaign {
        self.campaign.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down how far a host is.
    pub fn set(&self, host: &HostName, state: State) -> Result<()> {
        let mut campaign = self.campaign.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(item) = campaign.hosts.get_mut(host) {
            item.state = state;
        }
        self.write(&campaign)
    }

    /// Lets go of it: the links stay only while something is left to do.
    pub fn end(self) {
        if !self.campaign().left().is_empty() {
            self.rooted.stay();
        }
    }

    fn write(&self, campaign: &Campaign) -> Result<()> {
        files::replace(&self.folder.join("run.json"), &text(campaign)?, 0o644, Durable::Later)
    }
}

/// A campaign as it is written.
fn text(campaign: &Campaign) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(campaign)
        .map_err(|error| Error::new(Kind::Bug, "cannot write the plan").because(error))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a plan where a person wants it.
pub fn write(campaign: &Campaign, file: &Path) -> Result<()> {
    files::replace(file, &text(campaign)?, 0o644, Durable::Now)
}

/// Reads a campaign, such as one that was reviewed.
///
/// Fails with `Usage` when it is none, or of a newer version.
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
