//! `init`: makes or adopts a fleet in a git repository. Writes what is missing, and overwrites nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::hook;
use crate::adapters::files::{self, Durable};
use crate::adapters::git::Git;
use crate::adapters::process::Invocation;
use crate::adapters::repository::Fleet;
use crate::error::{Error, Result};
use crate::fleet::name::HostName;
use crate::fleet::policy_file::{self, FILE};

/// How a new recipients.toml begins.
const POLICY: &str = "\
# Who may read what: the one place where secrets are declared. Read by sealift, and by Nix through builtins.fromTOML.
# `sealift check` proves that the files under secrets/ say the same. Safe to edit by hand: then run `sealift rekey`.
version = 1

[admins]
";

/// How git treats sealed files: as bytes that are never merged line by line.
const ATTRIBUTES: &str = "secrets/**/*.age binary merge=binary\n";

/// What there is now.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was written.
    pub written: Vec<String>,
    /// Hosts that the flake configures and the policy does not name yet.
    pub hosts: Vec<String>,
    /// Systems of the flake whose names no host of a fleet can have.
    pub not_hosts: Vec<String>,
    /// Whether there is an admin.
    pub has_admin: bool,
    /// The pre-commit hook, if it was made.
    pub hook: Option<PathBuf>,
    /// Why it was not.
    pub no_hook: Option<String>,
}

/// Makes the fleet at the top of the repository that `directory` lies in, or in `directory` itself. `program` is what the
/// pre-commit hook calls where no sealift is in PATH.
///
/// # Errors
/// When there is no git repository, or a file cannot be written.
pub fn run(directory: &Path, program: &Path) -> Result<Report> {
    let (here, git) = repository(directory)?;
    let root = [here.as_path(), git.top.as_path()].into_iter().find(|place| place.join(FILE).exists()).unwrap_or(&here);
    let mut written = Vec::new();
    let mut put = |name: &str, content: &str| -> Result<()> {
        files::replace(&root.join(name), content.as_bytes(), 0o644, Durable::Now)?;
        written.push(name.to_owned());
        Ok(())
    };
    if !root.join(FILE).exists() {
        put(FILE, POLICY)?;
    }
    let policy = Fleet::open(root)?.policy;
    let attributes = match root.join(".gitattributes") {
        path if path.symlink_metadata().is_ok() => {
            String::from_utf8_lossy(&files::read(&path, policy_file::LIMIT)?).into_owned()
        }
        _ => String::new(),
    };
    if !attributes.contains("secrets/**/*.age") {
        let separator = if attributes.is_empty() || attributes.ends_with('\n') { "" } else { "\n" };
        put(".gitattributes", &format!("{attributes}{separator}{ATTRIBUTES}"))?;
    }
    if !root.join("secrets").exists() {
        put("secrets/.gitkeep", "")?;
    }
    let paths: Vec<_> = written.iter().map(|name| root.join(name)).collect();
    git.stage(&paths)?;
    // They stand in commands that are there to be pasted: what is no host's name does not.
    let (hosts, not_hosts): (Vec<_>, _) =
        configured(root).into_iter().partition(|name| name.parse::<HostName>().is_ok());
    let hosts = hosts.into_iter().filter(|host| !policy.hosts.contains_key(host.as_str())).collect();
    let (hook, no_hook) = match hook::install_new(&git, root, program) {
        Ok(hook) => (hook, None),
        Err(error) => (None, Some(format!("{error}; {}", error.mend().unwrap_or_default()))),
    };
    Ok(Report { written, hosts, not_hosts, has_admin: !policy.admins.is_empty(), hook, no_hook })
}

/// The directory, and the repository that it lies in.
///
/// # Errors
/// When there is none.
pub fn repository(directory: &Path) -> Result<(PathBuf, Git)> {
    let here = std::fs::canonicalize(directory)
        .map_err(|error| Error::usage(format!("there is no directory {}", directory.display())).because(error))?;
    let git = Git::find(&here)?.ok_or_else(|| {
        Error::failed(format!("{} is not in a git repository", here.display()))
            .hint("run `git init` first: Nix reads a flake from git, and git keeps former versions")
    })?;
    Ok((here, git))
}

/// The hosts that the repository configures: those of the flake, where nix can tell, else the folders of `hosts/`.
fn configured(root: &Path) -> Vec<String> {
    let from_flake = || -> Option<Vec<String>> {
        root.join("flake.nix").exists().then_some(())?;
        let names = Invocation::new("nix")
            .args([
                "--extra-experimental-features",
                "nix-command flakes",
                "eval",
                "--json",
                ".#nixosConfigurations",
                "--apply",
                "builtins.attrNames",
            ])
            .in_dir(root)
            .read()
            .ok()?;
        serde_json::from_slice(&names).ok()
    };
    let from_folders = || {
        let folders =
            std::fs::read_dir(root.join("hosts")).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    };
    from_flake().unwrap_or_else(from_folders)
}
