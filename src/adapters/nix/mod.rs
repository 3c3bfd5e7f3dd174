//! nix, run as a program: the user's configuration (builders, caches, trust) applies.

pub mod build;
pub mod differ;
pub mod store;
pub mod trust;

use crate::adapters::process::Invocation;
use crate::domain::address::Address;

/// nix with the commands that flakes need enabled, whatever nix.conf says.
fn nix() -> Invocation {
    Invocation::new("nix").args(["--extra-experimental-features", "nix-command flakes"])
}

/// The store of another machine.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The name in messages; `user` is the login user.
    pub host: String,
    pub user: String,
    pub uri: String,
    /// The ssh options for nix (`NIX_SSHOPTS`).
    pub options: String,
}

impl Remote {
    /// A machine outside the fleet: ssh_config and the user's known_hosts decide.
    pub fn plain(address: &Address) -> Self {
        let user = address.user.as_ref().map(|user| format!("-l {user}"));
        let port = address.port.map(|port| format!("-p {port}"));
        let options: Vec<String> = [user, port].into_iter().flatten().collect();
        let who = address.user.as_ref().map_or_else(|| "the user who logs in there".to_owned(), ToString::to_string);
        Self {
            host: address.host.clone(),
            user: who,
            uri: format!("ssh-ng://{}", address.url_host()),
            options: options.join(" "),
        }
    }

    /// nix with the ssh options set.
    fn nix(&self) -> Invocation {
        nix().env("NIX_SSHOPTS", &self.options)
    }
}
