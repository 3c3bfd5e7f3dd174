//! Systems, homes and packages: evaluated and built by nix, and protected from garbage collection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::adapters::host::closure;
use crate::adapters::nix::store::add;
use crate::adapters::nix::{Remote, nix};
use crate::adapters::process::Invocation;
use crate::domain::name::{Configuration, HostName};
use crate::error::{Error, Result};

/// An evaluated system or home: its derivation and its output path.
#[derive(serde::Deserialize)]
pub struct Evaluated {
    plan: String,
    out: String,
}

/// Store paths that are not garbage collected until this is dropped.
pub struct Rooted {
    folder: PathBuf,
    stays: AtomicBool,
}

impl Rooted {
    /// Protects them by symlinks in this directory.
    pub fn at(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
        Ok(Self { folder, stays: AtomicBool::new(false) })
    }

    /// Keeps them protected after the drop, for a later process.
    pub fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }

    /// The directory, for temporary files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Builds a flake attribute and protects it. `line` gets nix's messages.
    ///
    /// Fails if it cannot be evaluated or built; the error quotes nix.
    pub fn build(&self, name: &str, what: &str, line: impl FnMut(&str) + Send) -> Result<String> {
        let link = self.folder.join(name);
        let call = nix().args(["build", "--print-build-logs", "--json", "--out-link"]).arg(&link).arg("--").arg(what);
        built_path(&call.success(call.watched(line)?)?)
    }

    /// Builds and protects the systems of several hosts, which are evaluated together from `systems` of a flake. Those
    /// that could be built are in the store even if others fail.
    pub fn build_all(
        &self,
        systems: &str,
        hosts: &BTreeMap<&HostName, Configuration>,
        line: impl FnMut(&str) + Send,
    ) -> Result<BTreeMap<HostName, String>> {
        let names: Vec<String> = hosts.iter().map(|(host, system)| format!("\"{host}\" = \"{system}\";")).collect();
        // Only the evaluation can say which path belongs to which host: nix lists builds in its own order.
        let apply = format!(
            "all: builtins.mapAttrs (_: name: let it = all.${{name}}.config.system.build.toplevel; in {{ plan = it.drvPath; out = it.outPath; }}) {{ {} }}",
            names.join(" ")
        );
        let call = nix().args(["eval", "--json", "--apply", &apply, "--", systems]);
        let plans: BTreeMap<HostName, Evaluated> = serde_json::from_slice(&call.read()?)
            .map_err(|error| Error::failed("nix eval gave an unexpected answer").because(error))?;
        let call = Invocation::new("nix-store").args(["--realise", "--keep-going", "--add-root"]);
        let call = call.arg(self.folder.join("all")).arg("--").args(plans.values().map(|one| &one.plan));
        call.success(call.watched(line)?)?;
        let built: BTreeMap<HostName, String> = plans.into_iter().map(|(host, one)| (host, one.out)).collect();
        if built.values().all(|path| closure::is_store_path(path)) {
            Ok(built)
        } else {
            Err(Error::failed("nix eval names no store path"))
        }
    }

    /// Builds what was evaluated, and protects it.
    pub fn realise(&self, name: &str, one: &Evaluated, line: impl FnMut(&str) + Send) -> Result<String> {
        let call = Invocation::new("nix-store").args(["--realise", "--add-root"]).arg(self.folder.join(name));
        let call = call.args(["--", &one.plan]);
        call.success(call.watched(line)?)?;
        let path = Some(&one.out).filter(|path| closure::is_store_path(path));
        path.cloned().ok_or_else(|| Error::failed("nix eval names no store path"))
    }

    /// The link name of a host's system.
    pub fn name_of(host: &HostName) -> String {
        format!("system-{host}")
    }

    /// Adds a directory to the store, and protects it.
    pub fn add(&self, name: &str, folder: &Path) -> Result<String> {
        let path = add(name, folder)?;
        self.hold(&[(name, &path)])?;
        Ok(path)
    }

    /// Protects paths in the store, each by a link of this name.
    pub fn hold(&self, paths: &[(&str, &str)]) -> Result<()> {
        for (name, path) in paths {
            let link = self.folder.join(name);
            Invocation::new("nix-store").arg("--add-root").arg(link).args(["--realise", "--", path]).read()?;
        }
        Ok(())
    }
}

impl Drop for Rooted {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::Relaxed) {
            // A leftover only keeps a store path alive; the next run tries again.
            let _left = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Evaluates the homes for these systems among `homes` of a flake, all named `USER@CONFIGURATION`.
pub fn homes(homes: &str, systems: &[Configuration]) -> Result<BTreeMap<String, Evaluated>> {
    let names: Vec<String> = systems.iter().map(|system| format!("[ \"{system}\" ]")).collect();
    let apply = format!(
        "all: builtins.listToAttrs (map (name: {{ inherit name; value = let it = all.${{name}}.activationPackage; in {{ plan = it.drvPath; out = it.outPath; }}; }}) (builtins.filter (name: builtins.elem (builtins.match \"[^@]+@([^@]*)\" name) [ {} ]) (builtins.attrNames all)))",
        names.join(" ")
    );
    let call = nix().args(["eval", "--json", "--apply", &apply, "--", homes]);
    serde_json::from_slice(&call.read()?)
        .map_err(|error| Error::failed("nix eval gave an unexpected answer").because(error))
}

/// Evaluates an attribute here and builds it in another machine's store. Returns the store path.
pub fn build_on(remote: &Remote, what: &str, line: impl FnMut(&str) + Send) -> Result<String> {
    let call = remote.nix().args(["build", "--print-build-logs", "--json", "--no-link", "--eval-store", "auto"]);
    let call = call.args(["--store", &remote.uri, "--", what]);
    let output = call.watched(line)?;
    if !output.ended.success() {
        return Err(call.failure(&output));
    }
    built_path(&output.stdout)
}

/// The store path in the output of a build.
fn built_path(json: &[u8]) -> Result<String> {
    let path = built(json)?;
    if closure::is_store_path(&path) { Ok(path) } else { Err(Error::failed("nix build names no store path")) }
}

/// Builds something and returns its path, which may be in another store root; it is only read, and not protected from
/// garbage collection.
pub fn unrooted(what: &str) -> Result<String> {
    built(&nix().args(["build", "--no-link", "--json", "--"]).arg(what).read()?)
}

/// The output path in the JSON of a build.
fn built(json: &[u8]) -> Result<String> {
    let built: serde_json::Value = serde_json::from_slice(json)
        .map_err(|error| Error::failed("nix build gave an unexpected answer").because(error))?;
    let path = built[0]["outputs"]["out"].as_str().filter(|path| path.starts_with('/'));
    path.map(str::to_owned).ok_or_else(|| Error::failed("nix build does not say what it built"))
}
