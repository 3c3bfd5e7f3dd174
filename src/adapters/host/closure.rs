//! What a built system contains, read from its files inside the root that holds its store.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::adapters::age::armor::dearmored;
use crate::adapters::fs::root::Root;
use crate::domain::deploy::diff::{Commands, Facts};
use crate::domain::deploy::secret_changes::Carried;
use crate::domain::manifest::Manifest;
use crate::domain::manifest::install_status::hex;
use crate::domain::manifest::placement::DeliveredFile;
use crate::domain::name::{SecretName, UnitName};
use crate::domain::secret::seal::{Envelope, Seal};
use crate::error::{Error, Result};

pub const RUNNING: &str = "/run/current-system";
pub const BOOTED: &str = "/run/booted-system";
/// The manifest of a system's secrets, relative to its top.
pub const MANIFEST: &str = "etc/sealift/manifest.json";
/// The commands of a system's declared checks, relative to its top.
const CHECKS: &str = "etc/sealift/checks.json";
/// The program on the host that a system brings, relative to its top.
pub const PROGRAM: &str = "etc/sealift/host";
/// The unit that installs the secrets, relative to its top.
pub const UNIT: &str = "etc/systemd/system/sealift-install.service";
/// The unit that completes or rolls back a killed run, relative to its top.
pub const RECOVERS: &str = "etc/systemd/system/sealift-recover.path";
/// Symlinks to what was delivered with systems that carry no manifest, named after the system; they are garbage
/// collector roots.
pub const BUNDLES: &str = "/nix/var/nix/gcroots/sealift";

/// Whether a string is a store path, without anything below it.
pub fn is_store_path(text: &str) -> bool {
    let Some((hash, name)) = text.strip_prefix("/nix/store/").and_then(|name| name.split_once('-')) else {
        return false;
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+-._?=".contains(&b);
    hash.len() == 32
        && hash.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(fits)
}

/// Reads the facts of a system.
pub fn facts(root: &Root, system: &str) -> Result<Facts> {
    let missing: Vec<_> = ["bin/switch-to-configuration", "init", "nixos-version"]
        .into_iter()
        .filter(|part| !root.exists(&format!("{system}/{part}")))
        .collect();
    if !root.exists(system) {
        return Err(Error::failed(format!("{system} is not in the store of {}", root.path().display())));
    }
    if !missing.is_empty() {
        return Err(Error::failed(format!("{system} is not a NixOS system: it has no {}", missing.join(", no "))));
    }
    let text = |part: &str| root.text(&format!("{system}/{part}")).unwrap_or_default();
    let place = |part: &str| root.resolved(&format!("{system}/{part}"));
    let boots = ["initrd", "kernel", "kernel-modules"]
        .into_iter()
        .filter_map(|part| Some((part.to_owned(), place(part)?)))
        .collect();
    let unit_folder = format!("{system}/etc/systemd/system");
    let units = root.list(&unit_folder).into_iter().filter(|name| name.parse::<UnitName>().is_ok());
    let kernel = root.list(&format!("{system}/kernel-modules/lib/modules")).into_iter().next();
    Ok(Facts {
        version: text("nixos-version"),
        kernel: kernel.unwrap_or_default(),
        interface: text("init-interface-version"),
        inhibitors: serde_json::from_str::<BTreeMap<String, String>>(&text("switch-inhibitors")).unwrap_or_default(),
        boots,
        has_unit: root.exists(&format!("{system}/{UNIT}")),
        units: units
            .filter_map(|name| Some((name.clone(), root.resolved(&format!("{unit_folder}/{name}"))?)))
            .collect(),
    })
}

/// The commands of a system's declared checks, by name; `None` if it has no such file.
pub fn commands(root: &Root, system: &str) -> Result<Option<Commands>> {
    #[derive(Deserialize)]
    struct Checks {
        version: u32,
        commands: Commands,
    }
    let place = format!("{system}/{CHECKS}");
    let Some(text) = root.read(&place)? else { return Ok(None) };
    match serde_json::from_slice(&text) {
        Ok(Checks { version: 1, commands }) => Ok(Some(commands)),
        Ok(Checks { version, .. }) => {
            Err(Error::failed(format!("{place} is of version {version}, and this program reads version 1"))
                .help("use the sealift that the system was built with"))
        }
        Err(error) => Err(Error::failed(format!("{place} is not understood")).because(error)),
    }
}

/// The store paths of a system's specialisations, by name.
pub fn specialisations(root: &Root, system: &str) -> BTreeMap<String, String> {
    let folder = format!("{system}/specialisation");
    let path = |name: String| Some((name.clone(), root.store_path(&format!("{folder}/{name}"))?));
    root.list(&folder).into_iter().filter_map(path).collect()
}

/// The path of the manifest of a system's secrets, inside the root: its own, or the one delivered with it.
pub fn manifest(root: &Root, system: &str) -> Option<String> {
    let own = format!("{system}/{MANIFEST}");
    let delivered = format!("{}/manifest.json", bundle(system));
    [own, delivered].into_iter().find(|place| root.exists(place))
}

/// The symlink to what was delivered with a system.
pub fn bundle(system: &str) -> String {
    format!("{BUNDLES}/{}", system.trim_start_matches("/nix/store/"))
}

/// The secrets that a manifest lists, as far as can be read without a key.
pub fn secrets(root: &Root, manifest: &str) -> Result<Vec<Carried>> {
    let text = root.read(manifest)?.ok_or_else(|| Error::failed(format!("there is no manifest {manifest}")))?;
    let installable = Manifest::parse(&text)?;
    let folder =
        root.resolved(manifest).and_then(|place| Some(place.rsplit_once('/')?.0.to_owned())).unwrap_or_default();
    let carried = installable.placements.iter().map(|placement| {
        let name = &placement.target.name;
        let file = if placement.file.starts_with('/') {
            placement.file.clone()
        } else {
            format!("{folder}/{}", placement.file)
        };
        let bytes =
            root.read(&file)?.ok_or_else(|| Error::failed(format!("{name}: its sealed file {file} is not there")))?;
        let binary = dearmored(&bytes).ok().flatten();
        let seal = Envelope::read(binary.as_deref().unwrap_or(&bytes)).ok().and_then(|envelope| envelope.seal);
        Ok(carry(&placement.target, seal.as_ref(), hex(&Sha256::digest(&bytes))))
    });
    let mut carried = carried.collect::<Result<Vec<Carried>>>()?;
    // A template changes when its text or one of its secrets' ciphertexts changes.
    for template in &installable.templates {
        let ciphertext =
            |name: &SecretName| carried.iter().find(|one| one.name == name.as_str()).map(|one| one.digest.clone());
        let digest = template.source(ciphertext).unwrap_or_default();
        carried.push(Carried { template: true, ..carry(&template.target, None, digest) });
    }
    Ok(carried)
}

fn carry(target: &DeliveredFile, seal: Option<&Seal>, digest: String) -> Carried {
    let readers = |seal: &Seal| seal.current.union(&seal.former).map(ToString::to_string).collect();
    Carried {
        name: target.name.to_string(),
        serial: seal.map(|seal| seal.serial),
        known_to: seal.map(readers).unwrap_or_default(),
        digest,
        delivery: format!(
            "{}:{} {} {}",
            target.owner,
            target.group,
            target.mode,
            target.link.as_deref().unwrap_or_default()
        ),
        template: false,
        units: target.restart.iter().chain(&target.reload).map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_store_path;

    #[test]
    fn only_store_paths_are_store_paths() {
        assert!(is_store_path("/nix/store/2p8qql0cxdvbnpgvaldjr196bxdrwliy-nixos-system-nixos-25.11"));
        for text in [
            "/nix/store/x",
            "/nix/store/2p8qql0cxdvbnpgvaldjr196bxdrwliy-a/b",
            "/nix/store/2p8qql0cxdvbnpgvaldjr196bxdrwliy-a b",
            "-x",
            "/etc",
        ] {
            assert!(!is_store_path(text), "{text}");
        }
    }
}
