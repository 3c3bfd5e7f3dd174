//! The verbs as they are typed: one file each, with its arguments (their comments are the help), the request that they
//! become, and how its report is shown.

use clap::Subcommand;

use super::{App, Done};
use crate::fleet::header::VALUE_MAXIMUM;

mod adopt;
mod check;
mod cleanup;
mod deploy;
mod doctor;
mod edit;
mod generations;
mod hook;
mod host;
mod host_run;
mod identity;
mod import;
mod init;
mod install;
mod list;
mod manifest;
mod manual;
mod rekey;
mod rename;
mod rollback;
mod rotate;
mod scan;
mod seal;
mod show;
mod status;
mod verify;
mod who;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// Make or adopt a fleet in this git repository
    Init(init::Args),
    /// Take over the secrets of a repository of agenix
    Import(import::Args),
    /// An admin's own key: make, show, import, forget
    Identity(identity::Args),
    /// Seal a new value: typed, from standard input, from a file, or made
    Seal(Box<seal::Args>),
    /// Seal a secret that stands inline in a Nix file or a git configuration, and name the delivered file there
    Adopt(adopt::Args),
    /// Change a value in your editor
    Edit(edit::Args),
    /// Print a secret's bytes, exactly as sealed
    Show(show::Args),
    /// List the secrets and how they stand
    List(list::Args),
    /// Remove a secret
    Rm(rename::RmArgs),
    /// Rename a secret
    Mv(rename::MvArgs),
    /// Bring sealed files in line with recipients.toml
    Rekey(rekey::Args),
    /// Give secrets new values
    Rotate(rotate::Args),
    /// Prove, without a private key, that every host can open exactly what it should
    Check(check::Args),
    /// Look for plaintext: in the work tree, the next commit, the history, a built system
    Scan(scan::Args),
    /// The pre-commit hook that looks for plaintext
    Hook(hook::Args),
    /// Who can read a secret, and who knows its value
    Who(who::Args),
    /// Add, remove and list machines
    Host(host::Args),
    /// Make the fleet's systems the ones that run on its machines, with their secrets, or leave them as they were
    Deploy(Box<deploy::Args>),
    /// Write down what a deploy would do, to be reviewed
    Plan(Box<deploy::PlanArgs>),
    /// Carry out a plan that was reviewed
    Apply(Box<deploy::ApplyArgs>),
    /// The fleet at a glance: what runs where, and what waits
    Status(status::Args),
    /// Remove the files of a former layout, once every machine is verified
    Cleanup(cleanup::Args),
    /// Look at the declared checks of hosts, and whether what is delivered is what it should be
    Verify(verify::Args),
    /// Find the known faults of a machine and of the repository, each with its mend
    Doctor(doctor::Args),
    /// Make a former system run again, with its own secrets
    Rollback(rollback::Args),
    /// List the systems that a machine can go back to
    Generations(generations::Args),
    /// Put a host's secrets in place: on the host, by its own key
    Install(install::Args),
    /// Print the list of what a host installs
    Manifest(manifest::Args),
    /// Print a completion script for a shell
    Completions(manual::CompletionsArgs),
    /// Print the manual page
    Man(manual::ManArgs),
    /// Print the JSON schema of recipients.toml
    Schema,
    /// The part of a deploy on the host: an order in, events out
    #[command(name = "host-run", hide = true)]
    HostRun(host_run::Args),
    #[command(hide = true)]
    EditHelper(edit::HelperArgs),
}

impl Verb {
    /// Does it.
    pub fn run(self, app: &App) -> Done {
        match self {
            Verb::Init(args) => init::run(&args, app),
            Verb::Import(args) => import::run(args, app),
            Verb::Identity(args) => identity::run(args, app),
            Verb::Seal(args) => seal::run(*args, app),
            Verb::Adopt(args) => adopt::run(args, app),
            Verb::Edit(args) => edit::run(args, app),
            Verb::EditHelper(args) => edit::help(args),
            Verb::Show(args) => show::run(&args, app),
            Verb::List(args) => list::run(&args, app),
            Verb::Rm(args) => rename::rm(&args, app),
            Verb::Mv(args) => rename::mv(&args, app),
            Verb::Rekey(args) => rekey::run(args, app),
            Verb::Rotate(args) => rotate::run(args, app),
            Verb::Check(args) => check::run(args, app),
            Verb::Scan(args) => scan::run(&args, app),
            Verb::Hook(args) => hook::run(&args, app),
            Verb::Who(args) => who::run(&args, app),
            Verb::Host(args) => host::run(args, app),
            Verb::Deploy(args) => deploy::run(*args, app),
            Verb::Plan(args) => deploy::plan(*args, app),
            Verb::Apply(args) => deploy::apply(*args, app),
            Verb::Status(args) => status::run(args, app),
            Verb::Cleanup(args) => cleanup::run(args, app),
            Verb::Verify(args) => verify::run(args, app),
            Verb::Doctor(args) => doctor::run(args, app),
            Verb::Rollback(args) => rollback::run(args, app),
            Verb::Generations(args) => generations::run(args, app),
            Verb::HostRun(args) => host_run::run(&args, app),
            Verb::Install(args) => install::run(args, app),
            Verb::Manifest(args) => manifest::run(&args, app),
            Verb::Completions(args) => manual::completions(&args, app),
            Verb::Man(args) => manual::man(&args, app),
            Verb::Schema => manual::schema(app),
        }
    }
}

/// A size of a value, in bytes: no larger than what could be read again.
fn size(text: &str) -> Result<usize, String> {
    let fits = text.parse().ok().filter(|size| (1..=VALUE_MAXIMUM).contains(size));
    fits.ok_or_else(|| format!("a number of bytes from 1 to {VALUE_MAXIMUM}"))
}

/// Prints rows as aligned columns, the first as their heads.
fn table(app: &App, rows: &[Vec<String>]) -> Done {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        app.ui.line(cells.join("  ").trim_end())?;
    }
    Ok(None)
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
    /// Whether it can be made longer or shorter.
    pub fn has_length(self) -> bool {
        matches!(self, GenerateKind::Password | GenerateKind::Hex | GenerateKind::Base64)
    }

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
