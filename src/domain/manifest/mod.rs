//! The manifest: the JSON list of the secrets that a host installs. Created by the Nix module from recipients.toml, or
//! here from the policy. It is parsed and checked completely before anything is installed.

pub mod install_status;
pub mod placement;
pub mod template;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::manifest::placement::{DeliveredFile, Said, take};
use crate::domain::manifest::template::{Template, TemplateEntry};
use crate::domain::name::{FileName, HostName, SecretName, UnitName};
use crate::domain::policy::{Policy, Secret};
use crate::domain::secret::shape::Shape;
use crate::domain::versioned;
use crate::error::{Error, Result};

/// The newest version of the format that this program reads.
pub const VERSION: u32 = 2;
/// The version of a manifest without templates, which every program reads.
const PLAIN: u32 = 1;
/// The default paths of a host's private keys.
pub const IDENTITIES: [&str; 2] = ["/etc/ssh/ssh_host_ed25519_key", "/var/lib/sealift/identity"];

/// The manifest as in the JSON file, not checked yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1, or 2 if there are templates.
    pub version: u32,
    pub host: String,
    /// Absolute paths of the host's private keys.
    pub identities: Vec<String>,
    /// How many previous generations are kept.
    pub keep_generations: u32,
    /// The secrets, sorted by name.
    pub secrets: Vec<Entry>,
    /// The templates, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<TemplateEntry>,
}

/// One secret of a manifest, not checked yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The secret's name.
    pub name: String,
    /// The name that the file's seal must have.
    pub sealed_as: String,
    /// The sealed file: absolute, or relative to the manifest.
    pub file: String,
    pub owner: String,
    pub group: String,
    /// Four octal digits.
    pub mode: String,
    pub path: String,
    /// The format of its payload.
    pub shape: String,
    /// Units restarted if the delivered bytes changed.
    pub restart: Vec<String>,
    pub reload: Vec<String>,
    /// Whether it is needed before users are created.
    pub needed_for_users: bool,
    /// Whether a file without a seal is accepted.
    pub allow_unsealed: bool,
}

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Installable {
    pub host: HostName,
    pub identities: Vec<String>,
    /// How many previous generations are kept.
    pub keep_generations: u32,
    pub placements: Vec<Placement>,
    /// Files composed of these secrets, and where to install them.
    pub templates: Vec<Template>,
}

/// One secret to install.
#[derive(Clone, Debug)]
pub struct Placement {
    pub target: DeliveredFile,
    /// The name that the file's seal must have.
    pub sealed_as: FileName,
    pub file: String,
    /// The format of its payload.
    pub shape: Shape,
    /// Whether a file without a seal is accepted.
    pub allow_unsealed: bool,
}

impl Manifest {
    /// The manifest of a host, from the policy. `file_of` returns the path of a sealed file.
    pub fn of(policy: &Policy, host: &HostName, file_of: impl Fn(&FileName) -> String) -> Self {
        let words = |units: &[UnitName]| units.iter().map(ToString::to_string).collect();
        let of_host = policy.secrets.iter().filter(|(_, secret)| secret.hosts.contains(host));
        let entry = |(name, secret): (&SecretName, &Secret)| {
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
            version: PLAIN,
            host: host.to_string(),
            identities: IDENTITIES.map(str::to_owned).to_vec(),
            keep_generations: 1,
            secrets: of_host.map(entry).collect(),
            templates: Vec::new(),
        }
    }

    /// The manifest as JSON with sorted keys, like Nix writes it. A serde_json map sorts its keys; a struct keeps the
    /// order of its fields.
    pub fn sorted(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self)
            .map_err(|error| Error::failed("the manifest cannot be written as JSON").because(error))
    }

    /// Parses a manifest and checks all of it.
    pub fn parse(json: &[u8]) -> Result<Installable> {
        let malformed = |fault| {
            Error::usage(format!("the manifest is not well formed ({})", versioned::place(&fault)))
                .help("build it with the Nix module, or with `sealift manifest HOST`")
        };
        let manifest: Self = versioned::read(json, PLAIN..=VERSION, malformed, |version| {
            Error::usage(format!(
                "the manifest is of version {version}, and this program reads versions {PLAIN} to {VERSION}"
            ))
            .help("use the sealift that built it: etc/sealift/host of the same system")
        })?;
        if manifest.version == PLAIN && !manifest.templates.is_empty() {
            return Err(Error::usage(format!("the manifest is of version {PLAIN}, which has no templates"))
                .help("build it with the Nix module of this sealift"));
        }
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
        let mut places = Places::default();
        let mut placements = Vec::new();
        for entry in &self.secrets {
            let before = faults.len();
            placements.extend(entry.check(&mut faults));
            name_faults(&mut faults, before, Kind::Secret, &entry.name);
            places.take(&entry.name, &entry.path, &mut faults);
        }
        let mut templates = Vec::new();
        for entry in &self.templates {
            let before = faults.len();
            if let Some(template) = entry.check(&mut faults) {
                let there = |name: &&SecretName| {
                    placements.iter().any(|one| one.target.name == **name && !one.target.needed_for_users)
                };
                if let Some(name) = template.secrets().find(|name| !there(name)) {
                    faults.push(Error::usage(format!("content: there is no secret {name} that it could hold")));
                }
                templates.push(template);
            }
            name_faults(&mut faults, before, Kind::Template, &entry.name);
            places.take(&entry.name, &entry.path, &mut faults);
        }
        places.folders(&mut faults);
        match (host, faults.is_empty()) {
            (Some(host), true) => Ok(Installable {
                host,
                identities: self.identities,
                keep_generations: self.keep_generations,
                placements,
                templates,
            }),
            _ => Err(Error::batch(format!("the manifest has {} faults", faults.len()), faults)),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Secret,
    Template,
}

/// Adds the name of the entry to its faults, and help on where it was set. An invalid name is not shown.
fn name_faults(faults: &mut Vec<Error>, from: usize, kind: Kind, name: &str) {
    let is_name = name.parse::<SecretName>().is_ok();
    let about = match (kind, is_name) {
        (Kind::Secret, true) => name.to_owned(),
        (Kind::Secret, false) => "a secret".to_owned(),
        (Kind::Template, true) => format!("the template {name}"),
        (Kind::Template, false) => "a template".to_owned(),
    };
    let place = match kind {
        Kind::Secret => {
            format!("secrets.\"{name}\" in recipients.toml, or sealift.secrets.\"{name}\" in Nix, says this")
        }
        Kind::Template => format!("sealift.templates.\"{name}\" in Nix says this"),
    };
    let named: Vec<Error> = faults
        .drain(from..)
        .map(|fault| {
            let fault = if is_name && fault.advice().is_none() { fault.help(&*place) } else { fault };
            fault.about(&about)
        })
        .collect();
    faults.extend(named);
}

/// The names and paths in use. None may occur twice or be a folder of another.
#[derive(Default)]
struct Places<'a> {
    names: BTreeSet<&'a str>,
    paths: BTreeSet<&'a str>,
}

impl<'a> Places<'a> {
    fn take(&mut self, name: &'a str, path: &'a str, faults: &mut Vec<Error>) {
        let (new_name, new_path) = (self.names.insert(name), self.paths.insert(path));
        if !(new_name && new_path) {
            faults.push(Error::usage(format!("{name}: its name or path is given twice")));
        }
    }

    fn folders(&self, faults: &mut Vec<Error>) {
        for (word, all) in [("name", &self.names), ("path", &self.paths)] {
            // A path sorts after its folder, but other names can come between them.
            let folders = all.iter().flat_map(|inner| inner.match_indices('/').filter_map(|(at, _)| inner.get(..at)));
            for folder in folders.filter(|folder| all.contains(folder)).collect::<BTreeSet<_>>() {
                faults.push(Error::usage(format!("{folder}: its {word} is a folder of another secret's")));
            }
        }
    }
}

impl Entry {
    fn check(&self, faults: &mut Vec<Error>) -> Option<Placement> {
        let said = Said {
            name: &self.name,
            owner: &self.owner,
            group: &self.group,
            mode: &self.mode,
            path: &self.path,
            restart: &self.restart,
            reload: &self.reload,
            needed_for_users: self.needed_for_users,
        };
        let target = said.check(faults);
        if self.file.is_empty() {
            faults.push(Error::usage("file: it is empty"));
        }
        let (sealed_as, shape) = (take(faults, "sealed_as", &self.sealed_as), take(faults, "shape", &self.shape));
        Some(Placement {
            target: target?,
            sealed_as: sealed_as?,
            file: self.file.clone(),
            shape: shape?,
            allow_unsealed: self.allow_unsealed,
        })
    }
}
