//! What is in a nix store: put there, copied between machines, signed, listed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::adapters::fs::root::Root;
use crate::adapters::host::closure;
use crate::adapters::nix::trust::untrusted;
use crate::adapters::nix::{Remote, nix};
use crate::adapters::process::Invocation;
use crate::domain::deploy::packages::Part;
use crate::error::{Error, Result};

/// Puts a folder into the store. Its path is made from its content, so that any store takes it from anybody.
pub fn add(name: &str, folder: &Path) -> Result<String> {
    let printed = nix().args(["store", "add-path", "--name", name, "--"]).arg(folder).read()?;
    let path = String::from_utf8_lossy(&printed).trim().to_owned();
    if closure::is_store_path(&path) { Ok(path) } else { Err(Error::failed("nix store add-path names no store path")) }
}

/// How room is made in a store.
pub const FREE: &str = "remove old generations there: `sudo nix-collect-garbage --delete-older-than 30d`";

/// Copies store paths, with all they need, to another machine. `line` gets what nix says.
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

/// Copies store paths from another machine into the store here.
pub fn copy_from(remote: &Remote, paths: &[&str]) -> Result<()> {
    remote.nix().args(["copy", "--no-check-sigs", "--from", &remote.uri, "--"]).args(paths).read().map(drop)
}

/// Signs store paths, and all they need, with a key in a file.
pub fn sign(paths: &[&str], key: &Path) -> Result<()> {
    nix().args(["store", "sign", "--recursive", "--key-file"]).arg(key).arg("--").args(paths).read().map(drop)
}

/// Copies store paths, with all they need, into the store of a root. `sudo`: as root, where the caller may not write there.
pub fn copy(root: &Root, paths: &[&str], sudo: bool) -> Result<()> {
    // Signatures say who built a path; the root's owner is who copies here, from a store that is trusted already.
    let call = nix().args(["copy", "--no-check-sigs", "--to"]).arg(root.path()).arg("--").args(paths);
    let call = if sudo { call.under("sudo", &["--preserve-env=NIX_REMOTE,NIX_CONFIG", "--"]) } else { call };
    call.read().map(drop)
}

/// A call of nix about the store of a root.
fn in_store(call: Invocation, root: &Root) -> Invocation {
    if root.is_machine() { call } else { call.arg("--store").arg(root.path()) }
}

/// Whether the store of a root holds a path, whole.
pub fn check_valid(root: &Root, path: &str) -> Result<()> {
    in_store(Invocation::new("nix-store"), root).args(["--check-validity", "--", path]).read().map(drop)
}

/// All store paths that a path needs, itself included, each with its size.
pub fn contents(root: &Root, path: &str) -> Result<Vec<Part>> {
    // What runs is what a host says that runs: nix would build whatever flake that names.
    if !closure::is_store_path(path) {
        return Err(Error::failed(format!("{path} is not a store path")));
    }
    if let Ok(infos) = infos(root, path) {
        return Ok(infos.into_iter().map(|(path, info)| Part { path, size: info.size }).collect());
    }
    // One whose answer is not understood may still name them.
    let printed = in_store(Invocation::new("nix-store"), root).args(["--query", "--requisites", "--", path]).read()?;
    let part = |line: &str| Part { path: line.to_owned(), size: None };
    Ok(String::from_utf8_lossy(&printed).lines().map(part).collect())
}

/// What nix knows of a store path.
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

/// The same of everything that a store path needs, itself too.
fn infos(root: &Root, path: &str) -> Result<Vec<(String, Info)>> {
    // A list of records, or since 2.19 records by path.
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

/// A path of a closure.
pub struct StorePath {
    pub path: String,
    /// Whether it was built on this machine, and not taken from a cache that signed it.
    pub built_here: bool,
}

/// Every path that a store path needs, itself too.
pub fn closure_paths(path: &str) -> Result<Vec<StorePath>> {
    let infos = infos(&Root::open(Path::new("/"))?, path)?;
    let one =
        |(path, info): (String, Info)| StorePath { path, built_here: info.ultimate || info.signatures.is_empty() };
    Ok(infos.into_iter().map(one).collect())
}
