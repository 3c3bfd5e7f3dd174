//! nix, as a program: its users' configuration (builders, caches, trust) counts.

use std::path::{Path, PathBuf};

use super::accounts::Caller;
use super::git::Git;
use super::process::Invocation;
use super::rooted::Root;
use crate::error::{Error, Result};
use crate::fleet::name::HostName;
use crate::fleet::survey::Trust;

/// nix with the commands that flakes need, whatever nix.conf says.
fn nix() -> Invocation {
    Invocation::new("nix").args(["--extra-experimental-features", "nix-command flakes"])
}

/// A flake in a git work tree. No other kind is deployed: `path:` copies what git ignores, plaintext too, into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flake(String);

impl Flake {
    /// The flake of a directory in a repository.
    ///
    /// # Errors
    /// When there is no flake.nix, or the directory lies elsewhere.
    pub fn of(git: &Git, directory: &Path) -> Result<Self> {
        if !directory.join("flake.nix").is_file() {
            return Err(Error::usage(format!("there is no flake.nix in {}", directory.display())).hint(
                "deploys build `nixosConfigurations.HOST` of the fleet's flake; name its directory with `--flake DIR`",
            ));
        }
        let below = git.relative(directory)?;
        let top = git.top.to_str().ok_or_else(|| Error::usage(format!("{} is not a UTF-8 path", git.top.display())))?;
        let query = if below.is_empty() { String::new() } else { format!("?dir={}", encoded(&below)) };
        Ok(Self(format!("git+file://{}{query}", encoded(top))))
    }

    /// The name of a host's system in it.
    pub fn system_of(&self, host: &HostName) -> String {
        format!("{}#nixosConfigurations.\"{host}\".config.system.build.toplevel", self.0)
    }
}

/// A path as it stands in a URL.
fn encoded(path: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'~' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(one).collect()
}

/// Store paths that the collector leaves alone until this is dropped.
pub struct Rooted {
    folder: PathBuf,
}

impl Rooted {
    /// In a folder of this run below `folder`; what runs that are gone left there is removed.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|pid| Path::new("/proc").join(pid).exists()) {
                // What cannot be removed only keeps a store path alive.
                let _left = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = folder.join(std::process::id().to_string());
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
        Ok(Self { folder })
    }

    /// The folder itself, for what is made on the way.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Builds what a flake's attribute names, and roots it. `line` is told what nix says.
    ///
    /// # Errors
    /// When it cannot be evaluated or built; the error quotes nix.
    pub fn build(&self, name: &str, what: &str, line: impl FnMut(&str)) -> Result<String> {
        let link = self.folder.join(name);
        let call = nix().args(["build", "--print-build-logs", "--json", "--out-link"]).arg(&link).arg("--").arg(what);
        let output = call.watched(line)?;
        if !output.ended.well() {
            return Err(call.failure(&output));
        }
        let built: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::failed("nix build answers out of form").because(error))?;
        let path = built[0]["outputs"]["out"].as_str().filter(|path| super::system::is_store_path(path));
        path.map(str::to_owned).ok_or_else(|| Error::failed("nix build names no store path"))
    }

    /// Puts a folder into the store, and roots it.
    ///
    /// # Errors
    /// When nix fails.
    pub fn add(&self, name: &str, folder: &Path) -> Result<String> {
        let printed = nix().args(["store", "add-path", "--name", name, "--"]).arg(folder).read()?;
        let path = String::from_utf8_lossy(&printed).trim().to_owned();
        if !super::system::is_store_path(&path) {
            return Err(Error::failed("nix store add-path names no store path"));
        }
        nix().args(["build", "--out-link"]).arg(self.folder.join(name)).arg("--").arg(&path).read()?;
        Ok(path)
    }
}

impl Drop for Rooted {
    fn drop(&mut self) {
        // As in `new`: the next run tries again.
        let _left = std::fs::remove_dir_all(&self.folder);
    }
}

/// Copies store paths, with all they need, into the store of a root. `sudo`: as root, where the caller may not write there.
///
/// # Errors
/// When nix fails.
pub fn copy(root: &Root, paths: &[&str], sudo: bool) -> Result<()> {
    // Signatures say who built a path; the root's owner is who copies here, from a store that is trusted already.
    let call = nix().args(["copy", "--no-check-sigs", "--to"]).arg(root.path()).arg("--").args(paths);
    let call = if sudo { call.under("sudo", &["--preserve-env=NIX_REMOTE,NIX_CONFIG", "--"]) } else { call };
    call.read().map(drop)
}

/// The differences of two closures, one a line: packages and versions.
///
/// # Errors
/// When no program can tell.
pub fn differences(root: &Root, before: &str, after: &str) -> Result<Vec<String>> {
    let mut calls = Vec::new();
    if root.is_machine() {
        // These read paths where they lie, which is true only of the machine's own store.
        calls.push(Invocation::new("dix").args([before, after]));
        calls.push(Invocation::new("nvd").args(["--color=never", "diff", before, after]));
        calls.push(nix().args(["store", "diff-closures", before, after]));
    } else {
        calls.push(nix().args(["store", "diff-closures", "--store"]).arg(root.path()).args([before, after]));
    }
    let mut last = Error::failed("no program can compare closures");
    for call in calls {
        match call.env("NO_COLOR", "1").read() {
            Ok(text) => return Ok(lines(&String::from_utf8_lossy(&text))),
            Err(error) => last = error,
        }
    }
    Err(last)
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
///
/// # Errors
/// When it does not, or nix cannot tell.
pub fn check_valid(root: &Root, path: &str) -> Result<()> {
    let call = Invocation::new("nix-store");
    let call = if root.is_machine() { call } else { call.arg("--store").arg(root.path()) };
    call.args(["--check-validity", "--", path]).read().map(drop)
}

/// All store paths that a path needs, itself included.
///
/// # Errors
/// When the store of the root does not have it.
pub fn closure(root: &Root, path: &str) -> Result<Vec<String>> {
    let call = Invocation::new("nix-store");
    let call = if root.is_machine() { call } else { call.arg("--store").arg(root.path()) };
    let printed = call.args(["--query", "--requisites", "--", path]).read()?;
    Ok(String::from_utf8_lossy(&printed).lines().map(str::to_owned).collect())
}

/// Whom nix on this machine trusts besides root, as its own configuration says. Where that cannot be read, nobody.
pub fn trust(caller: &Caller) -> Trust {
    let text = nix().args(["show-config", "--json"]).read().unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let words = |name: &str| -> Vec<String> {
        let values = config[name]["value"].as_array().map_or(&[][..], Vec::as_slice);
        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let names_us = |word: &String| match word.strip_prefix('@') {
        Some(group) => caller.groups.iter().any(|ours| ours == group),
        None => word == "*" || *word == caller.user,
    };
    let unsigned = config["require-sigs"]["value"].as_bool() == Some(false);
    Trust { user: unsigned || words("trusted-users").iter().any(names_us), keys: words("trusted-public-keys") }
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
    fn a_flake_is_named_by_its_repository() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("a b#");
        std::fs::create_dir_all(top.join("sub")).unwrap();
        std::fs::write(top.join("sub/flake.nix"), "").unwrap();
        let git = Git { top: top.clone(), directory: top.join(".git") };
        let flake = Flake::of(&git, &top.join("sub")).unwrap();
        assert!(flake.0.ends_with("/a%20b%23?dir=sub"), "{}", flake.0);
        assert!(
            flake
                .system_of(&"web".parse().unwrap())
                .ends_with("#nixosConfigurations.\"web\".config.system.build.toplevel")
        );
        assert!(Flake::of(&git, &top).is_err());
    }
}
