//! The flake of a repository: its flake reference, and its systems, read without evaluation.

use std::collections::BTreeSet;
use std::path::Path;

use crate::adapters::fs::files;
use crate::adapters::git::Git;
use crate::domain::foreign::in_url;
use crate::domain::name::Configuration;
use crate::domain::nix::{guard, hosts};
use crate::error::{Error, Result};

/// A flake in a git work tree. No other kind is deployed: `path:` copies ignored files into the store, plaintext too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flake(String);

/// The nearest directory with a flake.nix, from `directory` up to the top of the repository.
pub fn folder<'a>(directory: &'a Path, top: &Path) -> Option<&'a Path> {
    directory.ancestors().take_while(|above| above.starts_with(top)).find(|above| above.join("flake.nix").is_file())
}

impl Flake {
    /// The flake in a directory of a repository.
    pub fn of(git: &Git, directory: &Path) -> Result<Self> {
        if !directory.join("flake.nix").is_file() {
            return Err(Error::usage(format!("there is no flake.nix in {}", directory.display())).help(
                "deploys build `nixosConfigurations.HOST` of the fleet's flake; name its directory with `--flake DIR`",
            ));
        }
        let below = git.relative(directory)?;
        let top = git.top.to_str().ok_or_else(|| Error::usage(format!("{} is not a UTF-8 path", git.top.display())))?;
        let query = if below.is_empty() { String::new() } else { format!("?dir={}", in_url(&below)) };
        Ok(Self(format!("git+file://{}{query}", in_url(top))))
    }

    /// The flake reference of a host's system.
    pub fn system_of(&self, configuration: &Configuration) -> String {
        format!("{}.\"{configuration}\".config.system.build.toplevel", self.systems())
    }

    /// The flake reference of a home's activation package.
    pub fn home_of(&self, name: &str) -> String {
        format!("{}.\"{name}\".activationPackage", self.homes())
    }

    /// The flake reference of all homes.
    pub fn homes(&self) -> String {
        format!("{}#homeConfigurations", self.0)
    }

    /// Whether every version of nix can read it. Older ones (such as 2.8) do not decode the path of a git repository.
    pub fn is_plain(&self) -> bool {
        !self.0.contains('%')
    }

    /// The flake reference of all systems.
    pub fn systems(&self) -> String {
        format!("{}#nixosConfigurations", self.0)
    }
}

/// The hosts that a repository configures.
#[derive(Default)]
pub struct Configured {
    pub hosts: Vec<Configuration>,
    /// Names that are not valid for a host.
    pub not_hosts: Vec<String>,
    /// What could not be read, with the reason.
    pub not_read: Vec<String>,
}

/// The hosts that the repository configures: those in flake.nix, else the directories in `hosts/`. Nothing is
/// evaluated: a flake may come from a stranger, and evaluating it can build what it names.
pub fn configured(root: &Path, top: &Path) -> Configured {
    let (mut names, mut found) = (BTreeSet::new(), Configured::default());
    match folder(root, top).map(|place| (place, read(&place.join("flake.nix")))) {
        Some((place, Ok(named))) => {
            let computed = |line| format!("flake.nix:{line}: names of nixosConfigurations are computed here");
            found.not_read.extend(named.computed.iter().map(computed));
            names = named.names;
            names.extend(named.folders.iter().flat_map(|below| folders(&place.join(below))));
        }
        Some((_, Err(why))) => found.not_read.push(format!("flake.nix: {why}")),
        None => {}
    }
    if names.is_empty() {
        names.extend(folders(&root.join("hosts")));
    }
    for name in names {
        // Names appear in commands to copy, so invalid host names are kept out.
        match name.parse() {
            Ok(host) => found.hosts.push(host),
            Err(_) => found.not_hosts.push(name),
        }
    }
    found
}

fn read(flake: &Path) -> Result<hosts::Named, String> {
    let bytes = files::read(flake, guard::LIMIT as u64).map_err(|error| error.in_one_line())?;
    hosts::read(&String::from_utf8_lossy(&bytes)).map_err(|unread| unread.to_string())
}

/// The names of subdirectories, except those that start with `_` or `.`, which are not machines.
fn folders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with(['_', '.'])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::process::Invocation;

    #[test]
    fn a_flake_is_named_by_its_repository() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("a b#");
        std::fs::create_dir_all(top.join("sub")).unwrap();
        std::fs::write(top.join("sub/flake.nix"), "").unwrap();
        assert!(Invocation::new("git").args(["init", "-q"]).arg(&top).run().unwrap().ended.success());
        let git = Git::find(&top).unwrap().unwrap();
        let flake = Flake::of(&git, &top.join("sub")).unwrap();
        assert!(flake.0.ends_with("/a%20b%23?dir=sub"), "{}", flake.0);
        let system = flake.system_of(&"web.example.org".parse().unwrap());
        assert!(system.ends_with("#nixosConfigurations.\"web.example.org\".config.system.build.toplevel"), "{system}");
        assert!(Flake::of(&git, &top).is_err());
    }
}
