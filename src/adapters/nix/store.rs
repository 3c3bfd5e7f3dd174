//! The content of a nix store: added, copied between machines, signed, listed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::adapters::fs::root::Root;
use crate::adapters::host::closure;
use crate::adapters::nix::trust::untrusted;
use crate::adapters::nix::{Remote, nix};
use crate::adapters::process::Invocation;
use crate::domain::deploy::packages::Part;
use crate::error::{Error, Result};

/// Adds a directory to the store. Its path is derived from its content, so any store accepts it from anybody.
pub fn add(name: &str, folder: &Path) -> Result<String> {
    let printed = nix().args(["store", "add-path", "--name", name, "--"]).arg(folder).read()?;
    let path = String::from_utf8_lossy(&printed).trim().to_owned();
    if closure::is_store_path(&path) { Ok(path) } else { Err(Error::failed("nix store add-path names no store path")) }
}

/// The help for a full store.
pub const FREE: &str = "remove old generations there: `sudo nix-collect-garbage --delete-older-than 30d`";

/// Copies store paths with their closure to another machine. `line` gets nix's messages.
pub fn copy_to(remote: &Remote, paths: &[&str], line: impl FnMut(&str) + Send) -> Result<()> {
    let call = remote.nix().args(["copy", "--no-check-sigs", "--substitute-on-destination", "--to", &remote.uri]);
    let call = call.arg("--").args(paths);
    let output = call.watched(line)?;
    if output.ended.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let error = call.failure(&output);
    let unsigned = ["lacks a valid signature", "lacks a signature by a trusted key", "is not signed by"];
    if unsigned.iter().any(|text| said.contains(text)) {
        return Err(untrusted(&remote.host, &remote.user).because(error.in_one_line()));
    }
    if said.contains("No space left on device") {
        return Err(Error::failed(format!("{} has no room for the system; nothing was changed", remote.host))
            .because(error.in_one_line())
            .help(FREE));
    }
    Err(error.about("the system could not be copied; nothing was changed"))
}

/// Copies store paths from another machine into the local store.
pub fn copy_from(remote: &Remote, paths: &[&str]) -> Result<()> {
    remote.nix().args(["copy", "--no-check-sigs", "--from", &remote.uri, "--"]).args(paths).read().map(drop)
}

/// Signs store paths and their closure with a key file.
pub fn sign(paths: &[&str], key: &Path) -> Result<()> {
    nix().args(["store", "sign", "--recursive", "--key-file"]).arg(key).arg("--").args(paths).read().map(drop)
}

/// Copies store paths with their closure into the store of a root. `sudo`: as root, if the caller may not write there.
pub fn copy(root: &Root, paths: &[&str], sudo: bool) -> Result<()> {
    // Signatures are not needed: the root's owner copies from a store that is trusted already.
    let call = nix().args(["copy", "--no-check-sigs", "--to"]).arg(root.path()).arg("--").args(paths);
    let call = if sudo { call.under("sudo", &["--preserve-env=NIX_REMOTE,NIX_CONFIG", "--"]) } else { call };
    call.read().map(drop)
}

/// A nix call on the store of a root.
fn in_store(call: Invocation, root: &Root) -> Invocation {
    if root.is_machine() { call } else { call.arg("--store").arg(root.path()) }
}

/// Checks that the store of a root contains a valid path.
pub fn check_valid(root: &Root, path: &str) -> Result<()> {
    in_store(Invocation::new("nix-store"), root).args(["--check-validity", "--", path]).read().map(drop)
}

/// The closure of a store path, itself included, with sizes.
pub fn contents(root: &Root, path: &str) -> Result<Vec<Part>> {
    // The path comes from a host: nix would build any flake reference in its place.
    if !closure::is_store_path(path) {
        return Err(Error::failed(format!("{path} is not a store path")));
    }
    if let Ok(infos) = infos(root, path) {
        return Ok(infos.into_iter().map(|(path, info)| Part { path, size: info.size }).collect());
    }
    // A nix whose JSON cannot be parsed may still list the paths.
    let printed = in_store(Invocation::new("nix-store"), root).args(["--query", "--requisites", "--", path]).read()?;
    let part = |line: &str| Part { path: line.to_owned(), size: None };
    Ok(String::from_utf8_lossy(&printed).lines().map(part).collect())
}

/// nix's information about a store path.
#[derive(serde::Deserialize)]
struct Info {
    path: Option<String>,
    #[serde(default)]
    ultimate: bool,
    #[serde(default)]
    signatures: Vec<String>,
    #[serde(rename = "narSize")]
    size: Option<u64>,
}

/// The information about the whole closure of a store path.
fn infos(root: &Root, path: &str) -> Result<Vec<(String, Info)>> {
    // A list of records, or since 2.19 a map of records by path.
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Printed {
        List(Vec<Info>),
        Map(BTreeMap<String, Info>),
    }
    let call = in_store(nix().args(["path-info", "--recursive", "--json"]), root).arg("--").arg(path);
    let printed: Printed = serde_json::from_slice(&call.read()?)
        .map_err(|error| Error::failed("nix path-info gave an unexpected answer").because(error))?;
    Ok(match printed {
        Printed::List(all) => all.into_iter().filter_map(|info| Some((info.path.clone()?, info))).collect(),
        Printed::Map(all) => all.into_iter().collect(),
    })
}

pub struct StorePath {
    pub path: String,
    /// Whether it was built on this machine, not copied from a cache that signed it.
    pub built_here: bool,
}

/// The closure of a store path, itself included.
pub fn closure_paths(path: &str) -> Result<Vec<StorePath>> {
    let infos = infos(&Root::open(Path::new("/"))?, path)?;
    let one =
        |(path, info): (String, Info)| StorePath { path, built_here: info.ultimate || info.signatures.is_empty() };
    Ok(infos.into_iter().map(one).collect())
}
