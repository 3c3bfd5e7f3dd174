//! The manifest: the JSON list of the secrets that one host installs. Made by the Nix module from recipients.toml, or
//! here from the policy; read and checked as a whole before anything is done with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::delivery::{DELIVERED, DELIVERED_FOR_USERS, path_fault};
use super::name::{FileName, HostName, SecretName, UnitName, UnixName};
use super::policy::{Mode, Policy};
use super::shape::Shape;
use crate::error::{Error, Result};

/// The version of the form that this program writes and reads.
pub const VERSION: u32 = 1;
/// Where a host's private keys are looked for, unless its manifest says otherwise.
pub const IDENTITIES: [&str; 2] = ["/etc/ssh/ssh_host_ed25519_key", "/var/lib/sealift/identity"];

/// The text form: what stands in the JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub version: u32,
    /// The host it is for.
    pub host: String,
    /// The host's private keys, absolute paths.
    pub identities: Vec<String>,
    /// How many former generations are kept.
    pub keep_generations: u32,
    /// The secrets, sorted by name.
    pub secrets: Vec<Entry>,
}

/// One secret of a manifest, as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The secret's name: where it is delivered.
    pub name: String,
    /// The name that the file's seal must carry.
    pub sealed_as: String,
    /// The sealed file: absolute, or relative to the manifest.
    pub file: String,
    /// Who owns the delivered file.
    pub owner: String,
    /// Its group.
    pub group: String,
    /// Its permissions, four octal digits.
    pub mode: String,
    /// Where it is found.
    pub path: String,
    /// The form of its payload.
    pub shape: String,
    /// Units restarted when the delivered bytes changed.
    pub restart: Vec<String>,
    /// Units reloaded then.
    pub reload: Vec<String>,
    /// Whether it is needed before users exist.
    pub needed_for_users: bool,
    /// Whether a file without a seal is accepted.
    pub allow_unsealed: bool,
}

/// A manifest that was checked.
#[derive(Clone, Debug)]
pub struct Installable {
    /// The host it is for.
    pub host: HostName,
    /// The host's private keys.
    pub identities: Vec<String>,
    /// How many former generations are kept.
    pub keep_generations: u32,
    /// What is put where.
    pub placements: Vec<Placement>,
}

/// One secret to put in place.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The secret's name.
    pub name: SecretName,
    /// The name that the file's seal must carry.
    pub sealed_as: FileName,
    /// The sealed file.
    pub file: String,
    /// Who owns the delivered file.
    pub owner: UnixName,
    /// Its group.
    pub group: UnixName,
    /// Its permissions.
    pub mode: Mode,
    /// A link of its own to the delivered file, where `path` is not the usual place.
    pub link: Option<String>,
    /// The form of its payload.
    pub shape: Shape,
    /// Units restarted when the delivered bytes changed.
    pub restart: Vec<UnitName>,
    /// Units reloaded then.
    pub reload: Vec<UnitName>,
    /// Whether it is needed before users exist.
    pub needed_for_users: bool,
    /// Whether a file without a seal is accepted.
    pub allow_unsealed: bool,
}

impl Manifest {
    /// The manifest of a host, from the policy. `file_of` says where a sealed file is.
    pub fn of(policy: &Policy, host: &HostName, file_of: impl Fn(&FileName) -> String) -> Self {
        let words = |units: &[UnitName]| units.iter().map(ToString::to_string).collect();
        let of_host = policy.secrets.iter().filter(|(_, secret)| secret.hosts.contains(host));
        let entry = |(name, secret): (&SecretName, &super::policy::Secret)| {
            let sealed_as = if secret.per_host { name.file_of(host) } else { name.file() };
            Entry {
                name: name.to_string(),
                file: file_of(&sealed_as),
                sealed_as: sealed_as.to_string(),
                owner: secret.delivery.owner.to_string(),
                group: secret.delivery.group.to_string(),
                mode: secret.delivery.mode.to_string(),
                path: secret.delivery.path.clone(),
                shape: secret.shape.to_string(),
                restart: words(&secret.delivery.restart),
                reload: words(&secret.delivery.reload),
                needed_for_users: secret.delivery.needed_for_users,
                allow_unsealed: secret.allow_unsealed,
            }
        };
        Self {
            version: VERSION,
            host: host.to_string(),
            identities: IDENTITIES.map(str::to_owned).to_vec(),
            keep_generations: 1,
            secrets: of_host.map(entry).collect(),
        }
    }

    /// Reads a manifest and checks all of it.
    ///
    /// # Errors
    /// Every fault at once, each with the secret and the field.
    pub fn parse(json: &[u8]) -> Result<Installable> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version: Version = serde_json::from_slice(json).map_err(|fault| malformed(&fault))?;
        if version.version != VERSION {
            return Err(Error::usage(format!(
                "the manifest is of version {}, and this program reads version {VERSION}",
                version.version
            ))
            .hint("use the sealift that built it: etc/sealift/host of the same system"));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(|fault| malformed(&fault))?;
        manifest.check()
    }

    fn check(self) -> Result<Installable> {
        let mut faults = Vec::new();
        let host = take(&mut faults, "host", &self.host);
        for identity in &self.identities {
            if !identity.starts_with('/') || identity.starts_with("/nix/store/") {
                faults.push(Error::usage("identities: a private key's path is absolute and not in the Nix store"));
            }
        }
        let (mut seen, mut names, mut paths) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut placements = Vec::new();
        for entry in &self.secrets {
            let before = faults.len();
            let placement = entry.check(&mut faults);
            for fault in &mut faults[before..] {
                let about = if entry.name.parse::<SecretName>().is_ok() { entry.name.as_str() } else { "a secret" };
                *fault = Error::usage(format!("{about}: {}", fault.message()));
            }
            if !seen.insert(entry.path.clone()) || !seen.insert(entry.name.clone()) {
                faults.push(Error::usage(format!("{}: its name or path is given twice", entry.name)));
            }
            names.insert(entry.name.as_str());
            paths.insert(entry.path.as_str());
            placements.extend(placement);
        }
        for (word, all) in [("name", &names), ("path", &paths)] {
            // What lies in a folder sorts after the folder's own name, with perhaps others in between.
            let folders = all.iter().flat_map(|inner| inner.match_indices('/').filter_map(|(at, _)| inner.get(..at)));
            for folder in folders.filter(|folder| all.contains(folder)).collect::<BTreeSet<_>>() {
                faults.push(Error::usage(format!("{folder}: its {word} is a folder of another secret's")));
            }
        }
        match (host, faults.is_empty()) {
            (Some(host), true) => Ok(Installable {
                host,
                identities: self.identities,
                keep_generations: self.keep_generations,
                placements,
            }),
            _ => Err(Error::batch(format!("the manifest has {} faults", faults.len()), faults)),
        }
    }
}

impl Entry {
    fn check(&self, faults: &mut Vec<Error>) -> Option<Placement> {
        let name = take::<SecretName>(faults, "name", &self.name);
        let tree = if self.needed_for_users { DELIVERED_FOR_USERS } else { DELIVERED };
        let usual = format!("{tree}/{}", self.name);
        if let Some(what) = path_fault(&self.path, &usual) {
            faults.push(Error::usage(format!("path: {what}")));
        }
        let mode = Mode::parse(&self.mode);
        if mode.is_none() {
            faults.push(Error::usage("mode: not a mode for a secret: four octal digits, nothing for others"));
        }
        if self.file.is_empty() {
            faults.push(Error::usage("file: it is empty"));
        }
        let root = |name: &str| name == "root" || name == "0";
        if self.needed_for_users && !(root(&self.owner) && root(&self.group)) {
            faults.push(Error::usage("owner, group: what is needed before there are users can belong to root only"));
        }
        let mut units = |words: &[String], field: &str| {
            words.iter().filter_map(|word| take::<UnitName>(faults, field, word)).collect()
        };
        let (restart, reload) = (units(&self.restart, "restart"), units(&self.reload, "reload"));
        Some(Placement {
            name: name?,
            sealed_as: take(faults, "sealed_as", &self.sealed_as)?,
            file: self.file.clone(),
            owner: take(faults, "owner", &self.owner)?,
            group: take(faults, "group", &self.group)?,
            mode: mode?,
            link: (self.path != usual).then(|| self.path.clone()),
            shape: take(faults, "shape", &self.shape)?,
            restart,
            reload,
            needed_for_users: self.needed_for_users,
            allow_unsealed: self.allow_unsealed,
        })
    }
}

fn take<T>(faults: &mut Vec<Error>, field: &str, text: &str) -> Option<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|fault: T::Err| faults.push(Error::usage(format!("{field}: {fault}")))).ok()
}

/// Says in our own words what serde refused: its message may quote the text.
fn malformed(fault: &serde_json::Error) -> Error {
    Error::usage(format!("the manifest is not well formed (line {}, column {})", fault.line(), fault.column()))
        .hint("build it with the Nix module, or with `sealift manifest HOST`")
}
