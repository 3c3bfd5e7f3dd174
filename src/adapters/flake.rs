//! The flake of a repository, as nix names it.

use std::path::Path;

use crate::adapters::git::Git;
use crate::domain::foreign::in_url;
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// A flake in a git work tree. No other kind is deployed: `path:` copies what git ignores, plaintext too, into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flake(String);

/// The nearest directory with a flake.nix, from this one up to the top of the repository.
pub fn folder<'a>(directory: &'a Path, top: &Path) -> Option<&'a Path> {
    directory.ancestors().take_while(|above| above.starts_with(top)).find(|above| above.join("flake.nix").is_file())
}

impl Flake {
    /// The flake of a directory in a repository.
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

    /// The name of a host's system in it.
    pub fn system_of(&self, host: &HostName) -> String {
        format!("{}.\"{host}\".config.system.build.toplevel", self.systems())
    }

    /// The name of a home's activation package in it.
    pub fn home_of(&self, name: &str) -> String {
        format!("{}.\"{name}\".activationPackage", self.homes())
    }

    /// The name of all homes in it.
    pub fn homes(&self) -> String {
        format!("{}#homeConfigurations", self.0)
    }

    /// Whether every nix finds it. Older ones (2.8 among them) do not decode the path of a git repository.
    pub fn is_plain(&self) -> bool {
        !self.0.contains('%')
    }

    /// The name of all systems in it.
    pub fn systems(&self) -> String {
        format!("{}#nixosConfigurations", self.0)
    }
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
        assert!(Invocation::new("git").args(["init", "-q"]).arg(&top).run().unwrap().ended.well());
        let git = Git::find(&top).unwrap().unwrap();
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
