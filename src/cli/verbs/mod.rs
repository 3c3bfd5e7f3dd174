//! The verbs as they are typed: one file each, with its arguments (their comments are the help), the request that they
//! become, and how its report is shown.

use clap::Subcommand;

use super::{App, Done};

mod deploy;
mod generations;
mod host_run;
mod install;
mod manifest;
mod rollback;
mod seal;
mod show;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// Make the fleet's system the one that runs on a machine, with its secrets, or leave it as it was
    Deploy(deploy::Args),
    /// List the systems that a machine can go back to
    Generations(generations::Args),
    /// The part of a deploy on the host: an order in, events out
    #[command(name = "host-run", hide = true)]
    HostRun,
    /// Put a host's secrets in place: on the host, by its own key
    Install(install::Args),
    /// Print the list of what a host installs
    Manifest(manifest::Args),
    /// Make a former system run again, with its own secrets
    Rollback(rollback::Args),
    /// Seal a new value: typed, from standard input, from a file, or made
    Seal(seal::Args),
    /// Print a secret's bytes, exactly as sealed
    Show(show::Args),
}

impl Verb {
    /// Does it.
    pub fn run(self, app: &App) -> Done {
        match self {
            Verb::Deploy(args) => deploy::run(args, app),
            Verb::Generations(args) => generations::run(&args, app),
            Verb::HostRun => host_run::run(app),
            Verb::Install(args) => install::run(args, app),
            Verb::Manifest(args) => manifest::run(&args, app),
            Verb::Rollback(args) => rollback::run(args, app),
            Verb::Seal(args) => seal::run(args, app),
            Verb::Show(args) => show::run(&args, app),
        }
    }
}

/// Names the kinds of generated values, for arguments.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum GenerateKind {
    /// Letters and digits
    Password,
    /// Random bytes in hexadecimal
    Hex,
    /// Random bytes in base64
    Base64,
    /// A WireGuard private key
    Wireguard,
    /// An OpenSSH ed25519 private key
    SshEd25519,
    /// An age X25519 identity
    Age,
}

impl GenerateKind {
    /// With a length: characters of a password, bytes before encoding otherwise.
    pub fn with(self, length: Option<u32>) -> crate::fleet::policy::Generate {
        use crate::fleet::policy::Generate;
        let length = length.unwrap_or(32);
        match self {
            GenerateKind::Password => Generate::Password { length },
            GenerateKind::Hex => Generate::Hex { bytes: length },
            GenerateKind::Base64 => Generate::Base64 { bytes: length },
            GenerateKind::Wireguard => Generate::Wireguard,
            GenerateKind::SshEd25519 => Generate::SshEd25519,
            GenerateKind::Age => Generate::Age,
        }
    }
}
