//! The journal of a run, written before each step so that the next run can finish or roll back an interrupted one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::adapters::fs::root::Root;
use crate::adapters::host::run_dir::RunDir;
use crate::adapters::host::{closure, home, profile, units};
use crate::commands::agent::secrets::Live;
use crate::domain::deploy::home::{Home, State};
use crate::domain::deploy::protocol::HostRequest;
use crate::error::{Error, Kind, Result};

/// The version of the journal format.
const VERSION: u32 = 1;
/// Identifies the current boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunJournal {
    version: u32,
    #[serde(rename = "order")]
    pub request: HostRequest,
    pub saved: Saved,
    /// The last step that was begun.
    pub reached: Step,
    /// Whether the run is rolling back.
    pub back: bool,
    /// The boot during which the run began.
    boot: Option<String>,
}

/// The steps, in order. A run killed at or before `Verify` is rolled back. From `Profile` on the new system has passed
/// its checks, so the run is finished, unless it required an acknowledgement and got none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Nothing has been changed.
    Begun,
    /// The agent puts secrets in place.
    Install,
    Activate,
    Home,
    Verify,
    Profile,
    /// Setting the boot default.
    Boot,
    /// Everything is done; waiting for the deployer to reconnect.
    Acknowledge,
}

/// The state of a machine before a run, restored by a rollback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// The running system, if any.
    pub system: Option<String>,
    /// The current generation of the profile.
    pub generation: Option<u64>,
    pub generation_system: Option<String>,
    /// All generations of the profile.
    pub generations: Vec<u64>,
    /// The live generations of secrets.
    pub secrets: Live,
    /// The manifest delivered with the new system before, if that system has none of its own.
    pub bundle: Option<String>,
    /// The failed units, or none if they are unknown.
    pub failed: Option<BTreeSet<String>>,
    /// The homes that the run switches.
    #[serde(default)]
    pub homes: Vec<State>,
}

impl Saved {
    pub fn of(root: &Root, coming: &str, homes: &[Home]) -> Result<Self> {
        Ok(Self {
            system: root.store_path(closure::RUNNING),
            generation: profile::current(root),
            generation_system: profile::current_system(root),
            generations: profile::generations(root).iter().map(|generation| generation.number).collect(),
            secrets: Live::of(root)?,
            bundle: root.link(&closure::bundle(coming)),
            failed: units::failing_units(root),
            homes: homes.iter().map(|home| home::state(root, &home.user)).collect(),
        })
    }
}

impl RunJournal {
    pub fn new(root: &Root, request: &HostRequest, saved: Saved) -> Self {
        let boot = root.text(BOOT);
        Self { version: VERSION, request: request.clone(), saved, reached: Step::Begun, back: false, boot }
    }

    /// Whether the machine was rebooted since the run began. What was delivered and activated before the reboot is
    /// gone.
    pub fn is_of_former_boot(&self, root: &Root) -> bool {
        self.boot.is_some() && self.boot != root.text(BOOT)
    }

    pub fn write(&self, run_dir: &RunDir) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "cannot write the journal").because(error))?;
        run_dir.write_journal(&bytes)
    }

    /// Returns the journal of an interrupted run, if there is one. `words` name the machine in a command.
    pub fn left(run_dir: &RunDir, words: &str) -> Result<Option<Self>> {
        let Some(bytes) = run_dir.journal()? else { return Ok(None) };
        let unreadable = || {
            Error::new(Kind::NeedsOperator, "a deploy was interrupted, and its journal cannot be read").help(format!(
                "look at what runs (`sealift generations{words}`), fix it, then remove /var/lib/sealift/deploy/journal.json there",
            ))
        };
        let journal: Self = serde_json::from_slice(&bytes).map_err(|error| unreadable().because(error))?;
        if journal.version == VERSION {
            Ok(Some(journal))
        } else {
            Err(unreadable().because("it is of another version"))
        }
    }
}
