//! `init`: creates or adopts a fleet in a git repository. Writes what is missing, and overwrites nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::adapters::flake::{Configured, configured};
use crate::adapters::fs::files::{self, Durable};
use crate::adapters::git::Git;
use crate::adapters::repository::{Fleet, agenix_rules};
use crate::commands::scan::hook;
use crate::domain::name::Configuration;
use crate::domain::policy::{FILE, parse};
use crate::error::{Error, Result};

/// The start of a new recipients.toml.
const POLICY: &str = "\
# Who may read what: the one place where secrets are declared. Read by sealift, and by Nix through builtins.fromTOML.
# `sealift check` proves that the files under secrets/ say the same. To change who reads what, edit it here, then run
# `sealift rekey`, which re-encrypts what the change concerns (`--remove NAME` where somebody loses access; `--dry-run`
# only shows it), and commit both. `sealift seal NAME --hosts …` declares a new secret, `sealift host add` a new machine.
version = 1

[admins]
";

/// The git attributes. Sealed files are binary, never merged by line. The policy has the line endings that Nix and
/// sealift read, also with core.autocrlf.
const ATTRIBUTES: [(&str, &str); 2] =
    [("secrets/**/*.age", "secrets/**/*.age binary merge=binary\n"), (FILE, "recipients.toml text eol=lf\n")];

#[derive(Debug, Serialize)]
pub struct Report {
    pub written: Vec<String>,
    /// Hosts in the flake that the policy does not have yet, by their names in the flake.
    pub hosts: Vec<Configuration>,
    /// Systems in the flake whose names are invalid for a host of a fleet.
    pub not_hosts: Vec<String>,
    /// Host names of the flake that could not be read, and why.
    pub not_read: Vec<String>,
    /// Whether there is an admin.
    pub has_admin: bool,
    /// The pre-commit hook, if it was installed.
    pub hook: Option<PathBuf>,
    pub no_hook: Option<String>,
    /// The rules file of agenix, if there is one.
    pub agenix: Option<String>,
    /// The configuration of sops, if there is one.
    pub sops: Option<String>,
}

/// Creates the fleet in `directory`, or uses the existing one at the top of its repository. The pre-commit hook calls
/// `program` if there is no sealift in PATH.
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
            String::from_utf8_lossy(&files::read(&path, parse::LIMIT)?).into_owned()
        }
        _ => String::new(),
    };
    let missing = ATTRIBUTES.iter().filter(|(pattern, _)| !attributes.contains(pattern));
    let missing: String = missing.map(|(_, line)| *line).collect();
    if !missing.is_empty() {
        let separator = if attributes.is_empty() || attributes.ends_with('\n') { "" } else { "\n" };
        put(".gitattributes", &format!("{attributes}{separator}{missing}"))?;
    }
    if !root.join("secrets").exists() {
        put("secrets/.gitkeep", "")?;
    }
    let paths: Vec<_> = written.iter().map(|name| root.join(name)).collect();
    git.stage(&paths)?;
    let Configured { mut hosts, not_hosts, not_read } = configured(root, &git.top);
    hosts.retain(|host| policy.called(host.as_str()).is_none());
    let (hook, no_hook) = match hook::install_new(&git, root, program) {
        Ok(hook) => (hook, None),
        Err(error) => (None, Some(format!("{error}; {}", error.advice().unwrap_or_default()))),
    };
    let there = |paths: &[&str]| paths.iter().find(|path| root.join(path).is_file()).map(ToString::to_string);
    Ok(Report {
        written,
        hosts,
        not_hosts,
        not_read,
        has_admin: !policy.admins.is_empty(),
        hook,
        no_hook,
        agenix: agenix_rules(root).map(str::to_owned),
        sops: there(&[".sops.yaml", ".sops.yml", "secrets/.sops.yaml"]),
    })
}

/// Returns the canonical directory and its repository.
pub fn repository(directory: &Path) -> Result<(PathBuf, Git)> {
    let here = std::fs::canonicalize(directory)
        .map_err(|error| Error::usage(format!("there is no directory {}", directory.display())).because(error))?;
    let git = Git::find(&here)?.ok_or_else(|| {
        Error::failed(format!("{} is not in a git repository", here.display()))
            .help("run `git init` first: Nix reads a flake from git, and git keeps older versions")
    })?;
    Ok((here, git))
}
