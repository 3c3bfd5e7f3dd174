//! The plan of a deploy: what will differ on the host. The same value is shown, printed as JSON, and carried out.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::adapters::rooted::Root;
use crate::adapters::{nix, system};
use crate::error::Result;
use crate::fleet::name::HostName;
use crate::fleet::rollout::{Action, Carried, Change, Reboot, SecretChange, UnitChanges, secret_changes, secret_units};

/// What a deploy will do.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The host.
    pub host: Option<HostName>,
    /// How far it goes.
    pub action: Action,
    /// The system that comes.
    pub system: String,
    /// The system that runs; none where none does.
    pub former: Option<String>,
    /// The versions of NixOS, former and coming.
    pub versions: (Option<String>, String),
    /// Packages that differ, as nix tells.
    pub packages: Vec<String>,
    /// Why they were not compared.
    pub not_compared: Option<String>,
    /// Secrets that do not stay as they are.
    pub secrets: Vec<SecretChange>,
    /// Units that are restarted or reloaded because of them.
    pub secret_units: BTreeSet<String>,
    /// Units of the system that differ.
    pub units: UnitChanges,
    /// What a reboot is needed for.
    pub reboot: Reboot,
    /// Whether the secrets last only until the next reboot: the system has no unit that delivers them.
    pub until_reboot: bool,
}

impl Plan {
    /// Compares what comes with what is. `manifest`: where the coming system's is, from inside the root.
    ///
    /// # Errors
    /// When the coming system, or the sealed files that it names, cannot be read.
    pub fn of(
        root: &Root,
        host: Option<&HostName>,
        action: Action,
        coming: &str,
        manifest: Option<&str>,
    ) -> Result<Self> {
        let facts = system::facts(root, coming)?;
        let former = root.store_path(system::RUNNING);
        let running = former.as_deref().and_then(|former| system::facts(root, former).ok());
        let booted = root.store_path(system::BOOTED).and_then(|booted| system::facts(root, &booted).ok());
        let after = manifest.map_or(Ok(Vec::new()), |manifest| system::secrets(root, manifest))?;
        let before = former
            .as_deref()
            .and_then(|former| system::manifest(root, former))
            .map_or_else(Vec::new, |manifest| secrets_of(root, &manifest));
        let secrets = secret_changes(&before, &after);
        let (packages, not_compared) = match &former {
            Some(former) if former == coming => (Vec::new(), None),
            Some(former) => match nix::differences(root, former, coming) {
                Ok(packages) => (packages, None),
                Err(error) => (Vec::new(), Some(error.message().to_owned())),
            },
            None => (Vec::new(), Some("no system is running there".to_owned())),
        };
        Ok(Self {
            host: host.cloned(),
            action,
            system: coming.to_owned(),
            versions: (running.as_ref().map(|facts| facts.version.clone()), facts.version.clone()),
            packages,
            not_compared,
            secret_units: secret_units(&secrets, &after),
            secrets,
            units: UnitChanges::between(running.as_ref(), &facts),
            reboot: Reboot::between(running.as_ref(), booted.as_ref(), &facts),
            until_reboot: !after.is_empty() && !facts.has_unit,
            former,
        })
    }

    /// Whether the system can be activated as it is.
    pub fn live(&self) -> bool {
        self.reboot.blocks.is_empty()
    }

    /// As a person reads it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let host = self.host.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string);
        match &self.former {
            Some(former) if *former == self.system => lines.push(format!("{host}: {} runs already", self.system)),
            Some(former) => lines.extend([format!("{host}: {former}"), format!("  → {}", self.system)]),
            None => lines.push(format!("{host}: {}", self.system)),
        }
        match &self.not_compared {
            Some(why) => lines.push(format!("packages: not compared: {why}")),
            None if self.packages.is_empty() => lines.push("packages: no version changes".to_owned()),
            None => lines.extend(
                std::iter::once("packages:".to_owned()).chain(self.packages.iter().map(|line| format!("  {line}"))),
            ),
        }
        if self.secrets.is_empty() {
            lines.push("secrets: no changes".to_owned());
        } else {
            lines.push("secrets:".to_owned());
            lines.extend(self.secrets.iter().map(|secret| format!("  {}", told(secret))));
        }
        let list = |what: &str, units: &mut dyn Iterator<Item = &String>| {
            let units: Vec<_> = units.map(String::as_str).collect();
            (!units.is_empty()).then(|| format!("{what}: {}", units.join(", ")))
        };
        lines.extend(list("restarted for their secrets", &mut self.secret_units.iter()));
        lines.extend(list("units added", &mut self.units.added.iter()));
        lines.extend(list("units changed", &mut self.units.changed.iter()));
        lines.extend(list("units removed", &mut self.units.removed.iter()));
        lines.extend(list("cannot be activated live, takes effect at the next boot", &mut self.reboot.blocks.iter()));
        lines.extend(list("waits for a reboot", &mut self.reboot.waits.iter()));
        if self.until_reboot {
            let until = if self.live() && self.action != Action::Boot {
                "they last until the next reboot"
            } else {
                "after the reboot they are absent until the next deploy"
            };
            lines.push(format!("this system has no unit that delivers its secrets: {until}"));
        }
        lines
    }
}

/// The secrets of the former system. That they cannot be read is no reason to keep it.
fn secrets_of(root: &Root, manifest: &str) -> Vec<Carried> {
    system::secrets(root, manifest).unwrap_or_default()
}

fn told(secret: &SecretChange) -> String {
    let name = &secret.name;
    let value = |serial: Option<u64>| serial.map_or_else(|| "unsealed".to_owned(), |serial| format!("value {serial}"));
    match secret.change {
        Change::Added => format!("+ {name} ({})", value(secret.to)),
        Change::Changed => format!("~ {name} ({} → {})", value(secret.from), value(secret.to)),
        Change::Older => format!("! {name} ({} → {}: an older value comes back)", value(secret.from), value(secret.to)),
        Change::Resealed => format!("= {name} ({}, sealed anew)", value(secret.to)),
        Change::Reowned => format!("= {name} (another owner, mode or place)"),
        Change::Removed => format!("- {name} ({})", value(secret.from)),
    }
}
