//! nix, as a program: its users' configuration (builders, caches, trust) counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::adapters::fs::root::Root;
use crate::adapters::host::accounts::Caller;
use crate::adapters::host::closure;
use crate::adapters::process::Invocation;
use crate::domain::address::Address;
use crate::domain::deploy::host_facts::Trust;
use crate::domain::deploy::packages::Part;
use crate::domain::name::HostName;
use crate::domain::policy::Differ;
use crate::error::{Error, Result};

/// nix with the commands that flakes need, whatever nix.conf says.
fn nix() -> Invocation {
    Invocation::new("nix").args(["--extra-experimental-features", "nix-command flakes"])
}

/// A system or a home that was evaluated: how it is built, and where it will be.
#[derive(serde::Deserialize)]
pub struct Evaluated {
    plan: String,
    out: String,
}

/// The store of another machine.
#[derive(Clone, Debug)]
pub struct Remote {
    pub uri: String,
    /// What nix tells ssh (`NIX_SSHOPTS`).
    pub options: String,
}

impl Remote {
    /// A machine that is none of the fleet's: ssh_config and the user's known_hosts decide.
    pub fn plain(address: &Address) -> Self {
        let user = address.user.as_ref().map(|user| format!("-l {user}"));
        let port = address.port.map(|port| format!("-p {port}"));
        let options: Vec<String> = [user, port].into_iter().flatten().collect();
        Self { uri: format!("ssh-ng://{}", address.url_host()), options: options.join(" ") }
    }

    /// nix with what it tells ssh.
    fn nix(&self) -> Invocation {
        nix().env("NIX_SSHOPTS", &self.options)
    }
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
        built_path(&call.well(call.watched(line)?)?)
    }

    /// Builds the systems of several hosts, which are evaluated at once from `systems` of a flake, and roots them. What could be
    /// built is in the store, whatever became of the others.
    pub fn build_all(
        &self,
        systems: &str,
        hosts: &[&HostName],
        line: impl FnMut(&str) + Send,
    ) -> Result<BTreeMap<HostName, String>> {
        let names: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        // Which path is whose is told by the evaluation: builds are listed in an order of nix' own.
        let apply = format!(
            "all: builtins.listToAttrs (map (name: {{ inherit name; value = let it = all.${{name}}.config.system.build.toplevel; in {{ plan = it.drvPath; out = it.outPath; }}; }}) [ {} ])",
            names.join(" ")
        );
        let call = nix().args(["eval", "--json", "--apply", &apply, "--", systems]);
        let plans: BTreeMap<HostName, Evaluated> = serde_json::from_slice(&call.read()?)
            .map_err(|error| Error::failed("nix eval gave an unexpected answer").because(error))?;
        let call = Invocation::new("nix-store").args(["--realise", "--keep-going", "--add-root"]);
        let call = call.arg(self.folder.join("all")).arg("--").args(plans.values().map(|one| &one.plan));
        call.well(call.watched(line)?)?;
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
        call.well(call.watched(line)?)?;
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

/// The homes for these hosts among `homes` of a flake, evaluated at once: `USER@HOST` each.
pub fn homes(homes: &str, hosts: &[&HostName]) -> Result<BTreeMap<String, Evaluated>> {
    let names: Vec<String> = hosts.iter().map(|host| format!("[ \"{host}\" ]")).collect();
    let apply = format!(
        "all: builtins.listToAttrs (map (name: {{ inherit name; value = let it = all.${{name}}.activationPackage; in {{ plan = it.drvPath; out = it.outPath; }}; }}) (builtins.filter (name: builtins.elem (builtins.match \"[^@]+@([^@]*)\" name) [ {} ]) (builtins.attrNames all)))",
        names.join(" ")
    );
    let call = nix().args(["eval", "--json", "--apply", &apply, "--", homes]);
    serde_json::from_slice(&call.read()?)
        .map_err(|error| Error::failed("nix eval gave an unexpected answer").because(error))
}

/// Puts a folder into the store. Its path is made from its content, so that any store takes it from anybody.
pub fn add(name: &str, folder: &Path) -> Result<String> {
    let printed = nix().args(["store", "add-path", "--name", name, "--"]).arg(folder).read()?;
    let path = String::from_utf8_lossy(&printed).trim().to_owned();
    if closure::is_store_path(&path) { Ok(path) } else { Err(Error::failed("nix store add-path names no store path")) }
}

/// Copies store paths, with all they need, to another machine. `line` gets what nix says.
pub fn copy_to(remote: &Remote, paths: &[&str], line: impl FnMut(&str) + Send) -> Result<()> {
    let call = remote.nix().args(["copy", "--no-check-sigs", "--substitute-on-destination", "--to", &remote.uri]);
    let call = call.arg("--").args(paths);
    let output = call.watched(line)?;
    if output.ended.well() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let error = call.failure(&output);
    let unsigned = ["lacks a valid signature", "lacks a signature by a trusted key", "is not signed by"];
    if unsigned.iter().any(|text| said.contains(text)) {
        return Err(untrusted("the host", "the user who logs in there").because(error.in_one_line()));
    }
    if said.contains("No space left on device") {
        return Err(Error::failed("the host has no room for the system; nothing was changed")
            .because(error.in_one_line())
            .help("remove old generations there: `nix-collect-garbage -d`"));
    }
    Err(error.about("the system could not be copied; nothing was changed"))
}

/// Copies store paths from another machine into the store here.
pub fn copy_from(remote: &Remote, paths: &[&str]) -> Result<()> {
    remote.nix().args(["copy", "--no-check-sigs", "--from", &remote.uri, "--"]).args(paths).read().map(drop)
}

/// Builds what an attribute names in the store of another machine, evaluated here. Where it is there.
pub fn build_on(remote: &Remote, what: &str, line: impl FnMut(&str) + Send) -> Result<String> {
    let call = remote.nix().args(["build", "--print-build-logs", "--json", "--no-link", "--eval-store", "auto"]);
    let call = call.args(["--store", &remote.uri, "--", what]);
    let output = call.watched(line)?;
    if !output.ended.well() {
        return Err(call.failure(&output));
    }
    built_path(&output.stdout)
}

/// Signs store paths, and all they need, with a key in a file.
pub fn sign(paths: &[&str], key: &Path) -> Result<()> {
    nix().args(["store", "sign", "--recursive", "--key-file"]).arg(key).arg("--").args(paths).read().map(drop)
}

/// The store path that a build of one thing names.
fn built_path(json: &[u8]) -> Result<String> {
    let built: serde_json::Value = serde_json::from_slice(json)
        .map_err(|error| Error::failed("nix build gave an unexpected answer").because(error))?;
    let path = built[0]["outputs"]["out"].as_str().filter(|path| closure::is_store_path(path));
    path.map(str::to_owned).ok_or_else(|| Error::failed("nix build names no store path"))
}

/// The failure of a host whose nix takes nothing unsigned from the user who logs in there. It would say so only once all is
/// built.
pub fn untrusted(host: &str, user: &str) -> Error {
    Error::failed(format!("nix on {host} does not trust {user}: it takes only signed paths")).help(format!(
        "one of: `nix.settings.trusted-users = [ \"{user}\" ]` there; `sign_key` in [deploy] of recipients.toml, with its public half in `nix.settings.trusted-public-keys` there; `--build-on-target`"
    ))
}

/// The failure of a host whose nix daemon does not let the user who logs in there in at all.
pub fn barred(host: &str, user: &str) -> Error {
    Error::failed(format!("nix on {host} does not let {user} in: `allowed-users` there names others"))
        .help(format!("`nix.settings.allowed-users = [ \"{user}\" ]` there, or log in as a user that it names"))
}

/// Copies store paths, with all they need, into the store of a root. `sudo`: as root, where the caller may not write there.
pub fn copy(root: &Root, paths: &[&str], sudo: bool) -> Result<()> {
    // Signatures say who built a path; the root's owner is who copies here, from a store that is trusted already.
    let call = nix().args(["copy", "--no-check-sigs", "--to"]).arg(root.path()).arg("--").args(paths);
    let call = if sudo { call.under("sudo", &["--preserve-env=NIX_REMOTE,NIX_CONFIG", "--"]) } else { call };
    call.read().map(drop)
}

/// How much a program that compares systems may print, in bytes, and how long it may take.
const COMPARED: u64 = 1 << 20;
const COMPARING: Duration = Duration::from_secs(120);

/// What another program tells of the differences of two systems of this machine's store, line by line.
pub fn told_by(program: Differ, before: &str, after: &str) -> Result<Vec<String>> {
    // What runs is what a host says that runs: an option is a word too.
    if let Some(other) = [before, after].into_iter().find(|path| !closure::is_store_path(path)) {
        return Err(Error::failed(format!("{other} is not a store path")));
    }
    let call = match program {
        Differ::Dix => Invocation::new("dix"),
        Differ::Nvd => Invocation::new("nvd").args(["--color=never", "diff"]),
    };
    let call = call.args([before, after]).env("NO_COLOR", "1").at_most(COMPARED).at_longest(COMPARING);
    Ok(lines(&String::from_utf8_lossy(&call.read()?)))
}

/// The lines of a text without its colours, which nix prints into pipes too.
fn lines(text: &str) -> Vec<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' && rest.next_if_eq(&'[').is_some() {
            // Parameters, then one letter that ends the sequence.
            while rest.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
            let _end = rest.next();
        } else {
            plain.push(c);
        }
    }
    plain.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Whether the store of a root holds a path, whole.
pub fn check_valid(root: &Root, path: &str) -> Result<()> {
    let call = Invocation::new("nix-store");
    let call = if root.is_machine() { call } else { call.arg("--store").arg(root.path()) };
    call.args(["--check-validity", "--", path]).read().map(drop)
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
    let call = Invocation::new("nix-store");
    let call = if root.is_machine() { call } else { call.arg("--store").arg(root.path()) };
    let printed = call.args(["--query", "--requisites", "--", path]).read()?;
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
    let call = nix().args(["path-info", "--recursive", "--json"]);
    let call = if root.is_machine() { call } else { call.arg("--store").arg(root.path()) };
    let printed: Printed = serde_json::from_slice(&call.arg("--").arg(path).read()?)
        .map_err(|error| Error::failed("nix path-info gave an unexpected answer").because(error))?;
    Ok(match printed {
        Printed::List(all) => all.into_iter().filter_map(|info| Some((info.path.clone()?, info))).collect(),
        Printed::Map(all) => all.into_iter().collect(),
    })
}

/// Builds something and says where it is. Nothing keeps it from being collected.
pub fn build(what: &str) -> Result<String> {
    let printed = nix().args(["build", "--no-link", "--json", "--"]).arg(what).read()?;
    let built: serde_json::Value = serde_json::from_slice(&printed)
        .map_err(|error| Error::failed("nix build gave an unexpected answer").because(error))?;
    // Wherever the store is: it is only read.
    let path = built[0]["outputs"]["out"].as_str().filter(|path| path.starts_with('/'));
    path.map(str::to_owned).ok_or_else(|| Error::failed("nix build does not say what it built"))
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

/// What asks nix for its configuration, as words. The daemon reads nothing of the user's own.
pub const ASKS: [&str; 7] = [
    "env",
    "NIX_USER_CONF_FILES=/dev/null",
    "nix",
    "--extra-experimental-features",
    "nix-command flakes",
    "show-config",
    "--json",
];

/// Which users nix on this machine trusts besides root, as its own configuration says. Where that cannot be read, nobody.
pub fn trust(caller: &Caller) -> Trust {
    let [program, arguments @ ..] = ASKS;
    match Invocation::new(program).args(arguments).without_env("NIX_CONFIG").read() {
        Ok(json) => trust_of(&json, caller),
        Err(error) => Trust { unknown: Some(error.in_one_line()), ..Trust::default() },
    }
}

/// The same from what nix answered.
pub fn trust_of(json: &[u8], caller: &Caller) -> Trust {
    let config: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let words = |name: &str| -> Vec<String> {
        let values = config[name]["value"].as_array().map_or(&[][..], Vec::as_slice);
        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let names_us = |word: &String| match word.strip_prefix('@') {
        Some(group) => caller.groups.iter().any(|ours| ours == group),
        None => word == "*" || *word == caller.user,
    };
    let trusted = words("trusted-users").iter().any(names_us);
    // Anyone who is trusted is let in, whatever else is said.
    let barred = config["allowed-users"].is_object() && !trusted && !words("allowed-users").iter().any(names_us);
    let unsigned = config["require-sigs"]["value"].as_bool() == Some(false);
    Trust { user: unsigned || trusted, keys: words("trusted-public-keys"), barred, unknown: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_off() {
        assert_eq!(
            lines("\u{1b}[32;1mlinux\u{1b}[0m: 6.12 → 6.13, \u{1b}[31;1m+2.4 KiB\u{1b}[0m\n\n"),
            ["linux: 6.12 → 6.13, +2.4 KiB"]
        );
    }

    #[test]
    fn whom_nix_lets_in_and_whom_it_trusts() {
        let caller = Caller { user: "jay".into(), groups: vec!["wheel".into()] };
        for (allowed, trusted, told) in [
            ("*", "root", (true, false)),
            ("@wheel", "root", (true, false)),
            ("ana", "root", (false, false)),
            ("ana", "@wheel", (true, true)),
            ("ana", "*", (true, true)),
        ] {
            let json = format!(
                r#"{{"allowed-users":{{"value":["{allowed}"]}},"trusted-users":{{"value":["root","{trusted}"]}}}}"#
            );
            let trust = trust_of(json.as_bytes(), &caller);
            assert_eq!((!trust.barred, trust.user), told, "{allowed} {trusted}");
        }
        assert!(!trust_of(b"", &caller).barred, "what is not known is not held against anybody");
    }
}
