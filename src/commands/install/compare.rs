//! Compares delivered secrets with a manifest. Decrypts nothing: the status has the digests of ciphertext and values.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::adapters::fs::root::Root;
use crate::adapters::host::accounts::Accounts;
use crate::adapters::host::generation::{Access, Generation};
use crate::adapters::host::tmpfs::Run;
use crate::commands::install::request::status;
use crate::domain::manifest::Manifest;
use crate::domain::manifest::install_status::{Status, Tree, hex, value_digest};
use crate::domain::manifest::placement::DeliveredFile;
use crate::domain::name::SecretName;
use crate::error::{Error, Result};

/// Returns for each secret of a manifest what is wrong with it, if anything. `manifest` is a path inside the root.
pub fn compare(root: &Root, manifest: &str) -> Result<BTreeMap<String, Option<String>>> {
    let bytes = root.read(manifest)?.ok_or_else(|| Error::failed(format!("there is no manifest {manifest}")))?;
    let listed = Manifest::parse(&bytes)?;
    let folder =
        root.resolved(manifest).and_then(|place| Some(place.rsplit_once('/')?.0.to_owned())).unwrap_or_default();
    let accounts = Accounts::read(root.path());
    let mut found = BTreeMap::new();
    for tree in [Tree::Users, Tree::Ordinary] {
        let live = Live::of(root.path(), tree)?;
        let mut sealed: BTreeMap<&SecretName, String> = BTreeMap::new();
        for placement in listed.placements.iter().filter(|one| tree_of(&one.target) == tree) {
            let digest = digest(root, &folder, &placement.file)?;
            found.insert(
                placement.target.name.to_string(),
                wrong(root, live.as_ref(), &placement.target, digest.as_ref(), &accounts),
            );
            sealed.extend(digest.map(|digest| (&placement.target.name, digest)));
        }
        for template in listed.templates.iter().filter(|one| tree_of(&one.target) == tree) {
            let source = template.source(|name| sealed.get(name).cloned());
            found.insert(
                template.target.name.to_string(),
                wrong(root, live.as_ref(), &template.target, source.as_ref(), &accounts),
            );
        }
    }
    Ok(found)
}

/// Returns the SHA-256 of a sealed file, or none if there is no such file.
fn digest(root: &Root, folder: &str, file: &str) -> Result<Option<String>> {
    let file = if file.starts_with('/') { file.to_owned() } else { format!("{folder}/{file}") };
    Ok(root.read(&file)?.map(|bytes| hex(&Sha256::digest(&bytes))))
}

/// Returns what is wrong with one file, if anything. `source` is the digest of its source.
fn wrong(
    root: &Root,
    live: Option<&Live>,
    target: &DeliveredFile,
    source: Option<&String>,
    accounts: &Accounts,
) -> Option<String> {
    match live {
        Some(live) => live.wrong(root, target, source, accounts),
        None => Some("nothing is delivered".to_owned()),
    }
}

/// The live generation of a tree, with its status.
struct Live {
    generation: Generation,
    status: Status,
    key: [u8; 32],
}

impl Live {
    fn of(root: &Path, tree: Tree) -> Result<Option<Self>> {
        let Some(run) = Run::open(root)? else { return Ok(None) };
        let (Some(number), Some(generations)) = (run.live(tree)?, run.generations(tree)?) else { return Ok(None) };
        let (Some(generation), Some(status)) = (generations.open(number)?, status(root, tree)?) else {
            return Ok(None);
        };
        Ok(Some(Self { generation, status, key: generations.key()? }))
    }

    fn wrong(
        &self,
        root: &Root,
        target: &DeliveredFile,
        source: Option<&String>,
        accounts: &Accounts,
    ) -> Option<String> {
        let name = target.name.as_str();
        let Some(entry) = self.status.secrets.get(name) else { return Some("it is not delivered".to_owned()) };
        if let Some(reason) = &entry.reason {
            return Some(reason.clone());
        }
        if source != entry.ciphertext.as_ref() {
            return Some("it was made from another ciphertext, or another text".to_owned());
        }
        let (value, access) = match self.generation.read(name) {
            Ok(Some(found)) => found,
            Ok(None) => return Some("its file is gone".to_owned()),
            Err(error) => return Some(error.in_one_line()),
        };
        let (user, group) = match (accounts.user(&target.owner), accounts.group(&target.group)) {
            (Ok(Some(user)), Ok(Some(group))) => (user, group),
            (Err(error), _) | (_, Err(error)) => return Some(error.in_one_line()),
            _ => return Some(format!("{}:{} does not exist", target.owner, target.group)),
        };
        if access != (Access { user, group, mode: target.mode.0 }) {
            return Some(format!(
                "it belongs to {}:{} with {:04o}, and not to {}:{} with {}",
                access.user, access.group, access.mode, target.owner, target.group, target.mode
            ));
        }
        let digest = value.expose(|bytes| value_digest(&self.key, name, bytes));
        if entry.value.as_ref().is_some_and(|value| *value != digest) {
            return Some("somebody has changed the delivered file".to_owned());
        }
        if let Some(link) = &target.link
            && root.link(link).is_none_or(|found| found != format!("/run/{}/{name}", tree_of(target).link()))
        {
            return Some(format!("{link} does not lead to it"));
        }
        None
    }
}

fn tree_of(target: &DeliveredFile) -> Tree {
    if target.needed_for_users { Tree::Users } else { Tree::Ordinary }
}
