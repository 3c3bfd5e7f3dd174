//! `deploy --link-etc-nixos`: determines where /etc/nixos of the hosts should lead. The program on the host makes the
//! link after the switch has succeeded.

use std::path::Path;

use crate::adapters::flake;
use crate::commands::Session;
use crate::commands::hosts::identify::is_here;
use crate::commands::hosts::select::Who;
use crate::error::{Error, Result};

/// Returns the folder as a path on the hosts: the given one or, for this machine, the folder of the flake.
pub fn place(session: &Session, who: &Who, flake: Option<&str>, said: &str) -> Result<String> {
    if !said.is_empty() {
        return Ok(said.to_owned());
    }
    let policy = &session.fleet.policy;
    let on_root = who.root.as_os_str() != "/";
    for host in who.choose(policy)?.hosts {
        if !on_root && !policy.hosts.get(&host).is_some_and(is_here) {
            return Err(Error::usage(format!("{host} is another machine, and has the repository elsewhere"))
                .help("say where it is there: `--link-etc-nixos=DIR`"));
        }
    }
    let real = |path: &Path| {
        std::fs::canonicalize(path)
            .map_err(|error| Error::usage(format!("there is no directory {}", path.display())).because(error))
    };
    let (git, root) = (session.fleet.git()?, &session.fleet.root);
    let folder = match flake {
        Some(named) => real(Path::new(named.strip_prefix("git+file://").unwrap_or(named)))?,
        None => flake::folder(root, &git.top).unwrap_or(root).to_owned(),
    };
    let inside = folder.strip_prefix(real(&who.root)?).map_err(|_| {
        Error::usage(format!("{} is not below {}", folder.display(), who.root.display()))
            .help("say where the repository is on that machine: `--link-etc-nixos=DIR`")
    })?;
    let path = Path::new("/").join(inside);
    path.to_str().map(str::to_owned).ok_or_else(|| Error::usage(format!("{} is not a UTF-8 path", path.display())))
}
