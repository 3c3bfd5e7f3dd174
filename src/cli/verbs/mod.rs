//! The verbs as typed: each file has the arguments of a verb (whose comments are the help), their conversion to a
//! request, and the display of its report.

mod adopt;
pub mod agent;
mod deploy;
pub mod fleet;
mod manual;
mod scan;
pub mod secrets;

use std::sync::Arc;

use clap::Subcommand;

use crate::cli::app::{App, Done};
use crate::cli::verbs::adopt::import;
#[cfg(target_os = "linux")]
use crate::cli::verbs::agent::{host_run, install};
use crate::cli::verbs::deploy::{generations, rollback};
use crate::cli::verbs::fleet::{admin, check, cleanup, doctor, host, identity, init, manifest, status, verify};
use crate::cli::verbs::scan::hook;
use crate::cli::verbs::secrets::{edit, list, rekey, rename, rotate, seal, show, who};
use crate::commands::talk::Talk;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// Make or adopt a fleet in this git repository
    ///
    /// Writes recipients.toml, secrets/ and .gitattributes where they are missing, and the pre-commit hook where there is
    /// none. A second run changes nothing. With --from, a machine's configuration is copied aside, its
    /// hardware-configuration.nix gets its place under hosts/, and whatever else a fleet needs is written; nothing is
    /// overwritten, and files without an obvious place are listed.
    Init(init::Args),
    /// Take over the secrets of an agenix repository
    ///
    /// From agenix: its rules file becomes declarations in recipients.toml and its files get their names under secrets/;
    /// ciphertext is not touched and no key is needed. With --adopt, or by `sealift rekey --adopt NAME` later, an admin's
    /// key gives the files their seals. Run `sealift init` first.
    Import(import::Args),
    /// An admin's own key: make, show, import, forget
    ///
    /// An admin opens every secret of the fleet. The key is kept in the OS keyring and, encrypted with a passphrase, in a
    /// backup file; or in a file only.
    Identity(identity::Args),
    /// The admins of the fleet: list them, remove one
    ///
    /// A new admin makes a key with `sealift identity new --admin NAME`; an admin who is there then runs `sealift rekey`.
    Admin(admin::Args),
    /// Seal a new value: typed, from standard input, from a file, or generated
    ///
    /// Needs no private key. A new secret is also declared in recipients.toml; say who reads it with --hosts. A
    /// value that is there is replaced only if you say so, or with --replace.
    Seal(Box<seal::Args>),
    /// Seal a secret that stands inline in a Nix file or a git configuration, and name the delivered file there
    ///
    /// A token that stands inline in a Nix file becomes a sealed secret, and the option beside it that takes a file gets
    /// the delivered path: `token = "…"` becomes `tokenFile = config.sealift.secrets.NAME.path`. In a git configuration
    /// it takes the `signingkey` that names a private key's file. Shows the change and asks; changes all of it or
    /// nothing; says which commits still hold the value. Needs no private key.
    Adopt(adopt::Args),
    /// Change a value in your editor
    ///
    /// Opens the value in your editor (SEALIFT_EDITOR, VISUAL or EDITOR), in memory only, and seals what you leave.
    /// Nothing is changed where the editor fails, or leaves the text as it was, empty, or out of its shape.
    Edit(edit::Args),
    /// Print a secret's bytes, exactly as sealed
    ///
    /// No newline is added or taken. A terminal gets them only if they are plain text.
    Show(show::Args),
    /// List the secrets and their state
    ///
    /// Name, state, value, readers. Needs no private key.
    List(list::Args),
    /// Remove a secret
    ///
    /// Its declaration and its files, or a sealed file that nothing asks for.
    Rm(rename::RmArgs),
    /// Rename a secret
    ///
    /// Its declaration, its files, and the name in their seals. Value, serial and readers stay.
    Mv(rename::MvArgs),
    /// Bring sealed files up to date with recipients.toml
    ///
    /// All that drifted, or none if one cannot be opened. Values and their serials stay; files that are up to date stay byte
    /// for byte. Names who gains and who loses access; nobody loses it unless you say so, or name them with --remove. A
    /// file without a seal gets one only with --adopt, and only where nothing in git's history speaks against it.
    Rekey(rekey::Args),
    /// Give secrets new values
    ///
    /// Sealed to today's readers. Values with a generator are generated; you are asked for the others. Needs no
    /// private key.
    Rotate(rotate::Args),
    /// Prove, without a private key, that every host can open exactly what it should
    ///
    /// From public data alone. Exit 0, or 3 with each finding. Needs no history: made for CI.
    Check(check::Args),
    /// Look for plaintext: in the work tree, the next commit, the history, a built system
    ///
    /// Private keys, tokens, passwords, and with an identity the fleet's own values, exactly. Looks at the work tree and
    /// the index unless asked for more. Exit 0, or 10 with each finding, or 11 when it could not look everywhere. No
    /// value is ever printed.
    Scan(scan::Args),
    /// The pre-commit hook that looks for plaintext: install, remove
    ///
    /// `sealift scan --staged` looks at what a commit would add, and a commit with plaintext is refused.
    Hook(hook::Args),
    /// Who can read a secret, and who knows its value
    ///
    /// By the seals alone: no private key, no history.
    Who(who::Args),
    /// The machines: add, remove, list, give another key, install a generated key
    Host(host::Args),
    /// Make the fleet's systems the ones that run on its machines, with their secrets, or leave them as they were
    ///
    /// Checks the preconditions, builds the hosts' systems as the calling user, shows what changes and asks. Then each
    /// host opens and checks every secret, activates the system, checks the result, and only then makes it the boot
    /// default; a machine reached over SSH must also be reached again over a new connection. Any failure on the way
    /// brings back the previous system with its secrets: exit 6.
    Deploy(Box<deploy::Args>),
    /// Write down what a deploy would do, for review
    ///
    /// Builds and compares, and writes down what a deploy would do. `sealift apply FILE` then does exactly that: the same
    /// store paths, the same ciphertext, whatever the repository says by then. Changes nothing on any host.
    Plan(Box<deploy::PlanArgs>),
    /// Carry out a plan that was reviewed
    ///
    /// Carries out a plan that was made by `sealift plan`: exactly its store paths and its ciphertext. A host on which
    /// another system runs by now than when it was planned is not touched.
    Apply(Box<deploy::ApplyArgs>),
    /// The fleet at a glance: what runs where, and what waits
    ///
    /// Looks at every host as the user who logs in there: what runs, how far behind HEAD it is, whether its secrets are those
    /// of the fleet's files, what has failed, what waits for a reboot, and who deployed last. Changes nothing, opens
    /// nothing.
    Status(status::Args),
    /// Remove the files of the old layout, once every machine is verified
    ///
    /// Looks at every machine first: each must run what was deployed last, and be as its checks and its manifest say.
    /// Then it lists the files that have a successor in the new layout and that no Nix file names, asks, and removes them
    /// from the work tree and git's index. Only files that are committed unchanged; committing the removal is yours.
    Cleanup(cleanup::Args),
    /// Run the declared checks of hosts, and check that what is delivered is what it should be
    ///
    /// Looks at the checks that recipients.toml declares for a host, and holds what is delivered there against the
    /// manifest of the system that runs: whether each file is there, whose it is, and whether somebody has changed it.
    /// Opens nothing.
    Verify(verify::Args),
    /// Find the known faults of a machine and of the repository, and how to fix them
    ///
    /// Looks at this machine and at the repository of the working directory, or at one host of the fleet over SSH. Works
    /// without a fleet too. Exit 0, or 3 with each fault; what is fixed by --fix loses nothing: files are added to git,
    /// and stale links are removed.
    Doctor(doctor::Args),
    /// Make an older system run again, with its own secrets
    ///
    /// Makes the generation before the current one run and boot again, with the secrets that it carries. Asks nothing.
    /// Fails like a deploy: what ran stays, or comes back. On this machine it works without a fleet too; then no checks
    /// are run.
    Rollback(rollback::Args),
    /// List the systems that a machine can go back to
    ///
    /// With the secrets that each carries. Needs no key and no root.
    Generations(generations::Args),
    #[cfg(target_os = "linux")]
    Install(install::Args),
    /// Print the list of what a host installs
    ///
    /// JSON, with absolute paths of the fleet's sealed files: what `sealift install` reads. The Nix module makes the same
    /// one, with store paths.
    Manifest(manifest::Args),
    /// Print a completion script for a shell
    ///
    /// It completes verbs and options, and the secrets, hosts, tags and admins of the fleet. The shell asks sealift, which reads
    /// recipients.toml, starts no process and opens no key.
    Completions(manual::CompletionsArgs),
    /// Print the manual page
    Man(manual::ManArgs),
    /// Print the JSON schema of recipients.toml
    Schema,
    #[cfg(target_os = "linux")]
    #[command(name = "host-run", hide = true)]
    HostRun(host_run::Args),
    #[command(hide = true)]
    EditHelper(edit::HelperArgs),
}

impl Verb {
    pub fn run(self, app: &App) -> Done {
        match self {
            Verb::Init(args) => init::run(&args, app),
            Verb::Import(args) => import::run(args, app),
            Verb::Identity(args) => identity::run(args, app),
            Verb::Admin(args) => admin::run(args, app),
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
            #[cfg(target_os = "linux")]
            Verb::HostRun(args) => host_run::run(&args, app.ui.printer()),
            #[cfg(target_os = "linux")]
            Verb::Install(args) => {
                let talk: Arc<dyn Talk> = app.ui.clone();
                install::run(args, &app.global.identity, app.ui.printer(), &talk)
            }
            Verb::Manifest(args) => manifest::run(&args, app),
            Verb::Completions(args) => manual::completions(&args, app),
            Verb::Man(args) => manual::man(&args, app),
            Verb::Schema => manual::schema(app),
        }
    }
}
