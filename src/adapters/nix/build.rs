//! Systems, homes and packages: evaluated and built by nix, and rooted so that they stay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::adapters::host::closure;
use crate::adapters::nix::store::add;
use crate::adapters::nix::{Remote, nix};
use crate::adapters::process::Invocation;
use crate::domain::name::{Configuration, HostName};
use crate::error::{Error, Result};

/// A system or a home that was evaluated: how it is built, and where it will be.
#[derive(serde::Deserialize)]
pub struct Evaluated {
    plan: String,
    out: String,
}

/// Store paths that the collector leaves alone until this is dropped.
pub struct Rooted {
    folder: PathBuf,
    stays: AtomicBool,
}

impl Rooted {
    /// By links in this folder.
    pub fn at(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
        Ok(Self { folder, stays: AtomicBool::new(false) })
    }

    /// They stay, for somebody who comes later.
    pub fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }

    /// The folder itself, for what is made on the way.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Builds what a flake's attribute names, and roots it. `line` gets what nix says.
    ///
    /// Fails when it cannot be evaluated or built; the error quotes nix.
    pub fn build(&self, name: &str, what: &str, line: impl FnMut(&str) + Send) -> Result<String> {
        let link = self.folder.join(name);
        let call = nix().args(["build", "--print-build-logs", "--json", "--out-link"]).arg(&link).arg("--").arg(what);
        built_path(&call.success(call.watched(line)?)?)
    }

    /// Builds the systems of several hosts, which are evaluated at once from `systems` of a flake, and roots them. What could be
    /// built is in the store, whatever became of the others.
    pub fn build_all(
        &self,
        systems: &str,
        hosts: &BTreeMap<&HostName, Configuration>,
        line: impl FnMut(&str) + Send,
    ) -> Result<BTreeMap<HostName, String>> {
        let names: Vec<String> = hosts.iter().map(|(host, system)| format!("\"{host}\" = \"{system}\";")).collect();
        // Which path is whose is told by the evaluation: builds are listed in an order of nix' own.
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

    /// Builds what was evaluated, and roots it.
    pub fn realise(&self, name: &str, one: &Evaluated, line: impl FnMut(&str) + Send) -> Result<String> {
        let call = Invocation::new("nix-store").args(["--realise", "--add-root"]).arg(self.folder.join(name));
        let call = call.args(["--", &one.plan]);
        call.success(call.watched(line)?)?;
        let path = Some(&one.out).filter(|path| closure::is_store_path(path));
        path.cloned().ok_or_else(|| Error::failed("nix eval names no store path"))
    }

    /// The name by which the system of a host is rooted.
    pub fn name_of(host: &HostName) -> String {
        format!("system-{host}")
    }

    /// Puts a folder into the store, and roots it.
    pub fn add(&self, name: &str, folder: &Path) -> Result<String> {
        let path = add(name, folder)?;
        self.hold(&[(name, &path)])?;
        Ok(path)
    }

    /// Roots paths that are in the store, each by a link of this name.
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
            // What cannot be removed only keeps a store path alive; the next run tries again.
            let _left = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The homes for these systems among `homes` of a flake, evaluated at once: `USER@CONFIGURATION` each.
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

/// Builds what an attribute names in the store of another machine, evaluated here. Where it is there.
pub fn build_on(remote: &Remote, what: &str, line: impl FnMut(&str) + Send) -> Result<String> {
    let call = remote.nix().args(["build", "--print-build-logs", "--json", "--no-link", "--eval-store", "auto"]);
    let call = call.args(["--store", &remote.uri, "--", what]);
    let output = call.watched(line)?;
    if !output.ended.success() {
        return Err(call.failure(&output));
    }
    built_path(&output.stdout)
}

/// The store path that a build of one thing names.
fn built_path(json: &[u8]) -> Result<String> {
    let path = built(json)?;
    if closure::is_store_path(&path) { Ok(path) } else { Err(Error::failed("nix build names no store path")) }
}

/// Builds something and says where it is, wherever the store is: it is only read. Nothing keeps it from being collected.
pub fn unrooted(what: &str) -> Result<String> {
    built(&nix().args(["build", "--no-link", "--json", "--"]).arg(what).read()?)
}

/// What a build of one thing made, as nix prints it.
fn built(json: &[u8]) -> Result<String> {
    let built: serde_json::Value = serde_json::from_slice(json)
        .map_err(|error| Error::failed("nix build gave an unexpected answer").because(error))?;
    let path = built[0]["outputs"]["out"].as_str().filter(|path| path.starts_with('/'));
    path.map(str::to_owned).ok_or_else(|| Error::failed("nix build does not say what it built"))
}
