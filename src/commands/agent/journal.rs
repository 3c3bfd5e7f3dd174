//! What a run writes down before each step, so that the next run can finish it or go back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::adapters::fs::root::Root;
use crate::adapters::host::run_dir::RunDir;
use crate::adapters::host::{closure, home, profile, units};
use crate::commands::agent::secrets::Live;
use crate::domain::deploy::home::{Home, State};
use crate::domain::deploy::protocol::HostRequest;
use crate::error::{Error, Kind, Result};

/// The version of the form that this program writes and reads.
const VERSION: u32 = 1;
/// What names the boot of a machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The journal of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunJournal {
    version: u32,
    #[serde(rename = "order")]
    pub request: HostRequest,
    pub saved: Saved,
    /// The step that was begun last.
    pub reached: Step,
    /// Whether it is on the way back.
    pub back: bool,
    /// The boot of the machine in which it began.
    boot: Option<String>,
}

/// The steps, in order. Up to and with `Verify` the way on is the way back; from `Profile` on the system is known to be
/// well, and the run is finished, unless somebody had to acknowledge it and did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Nothing was changed.
    Begun,
    /// Secrets are put in place here.
    Install,
    Activate,
    Home,
    Verify,
    Profile,
    /// What boots next is set.
    Boot,
    /// All is done, and the deployer is waited for.
    Acknowledge,
}

/// How a machine was before a run: the state that a failure goes back to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// The running system; none where none runs.
    pub system: Option<String>,
    /// The current generation of the profile.
    pub generation: Option<u64>,
    pub generation_system: Option<String>,
    /// All generations of the profile.
    pub generations: Vec<u64>,
    /// The generations of secrets that are live.
    pub secrets: Live,
    /// What the system that comes was delivered with before, if it carries no manifest.
    pub bundle: Option<String>,
    /// The units that are failed; none where nobody can tell.
    pub failed: Option<BTreeSet<String>>,
    /// The homes of those whose homes are switched.
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
    /// The journal of a run that begins.
    pub fn new(root: &Root, request: &HostRequest, saved: Saved) -> Self {
        let boot = root.text(BOOT);
        Self { version: VERSION, request: request.clone(), saved, reached: Step::Begun, back: false, boot }
    }

    /// Whether the machine was booted since it began. What was delivered and activated then is gone.
    pub fn is_of_former_boot(&self, root: &Root) -> bool {
        self.boot.is_some() && self.boot != root.text(BOOT)
    }

    pub fn write(&self, run_dir: &RunDir) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "cannot write the journal").because(error))?;
        run_dir.write_journal(&bytes)
    }

    /// The journal that a run left which did not end. `words` name the machine in a command.
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
