//! `sealift host`.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::adapters::fs::files;
use crate::cli::app::{App, Done, nothing_yet, table};
use crate::cli::layout::{first_that_fits, first_words, shortened};
use crate::cli::verbs::agent::provision::tell;
use crate::cli::verbs::secrets::rekey;
use crate::cli::{args, settings};
use crate::commands::Session;
use crate::commands::fleet::host::{self, HostChange, New, Report, Row};
use crate::commands::fleet::{onboard, provision};
use crate::domain::address::Address;
use crate::domain::name::{Configuration, HostName, HostWord};
use crate::domain::secret::recipient::{Recipient, SshFingerprint};
use crate::error::{Error, Kind, Result};

/// The machines of the fleet.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do with a host.
#[derive(Subcommand)]
enum What {
    /// Add a machine: its key goes into recipients.toml, and what it should read is sealed to it, in one step
    ///
    /// The key is given, made for a machine that is not installed yet (--generate), or taken from the machine itself (--ssh).
    /// Over SSH it counts only if somebody vouches for it: --fingerprint, your own known_hosts, or you, asked at the terminal.
    /// Then its hardware configuration comes over the same session, and hosts/NAME/ and home/NAME.nix are written where the
    /// repository has those folders, by its name in the flake. What is there is never overwritten; all of it is done, or
    /// nothing.
    ///
    /// The flake may have it under a name that is no DNS label, such as Web_1: it is then added as web-1, with that name as its
    /// `configuration`.
    Add(Box<Add>),
    /// Remove a machine: what it could read is re-encrypted for the others, and the values it knows are listed
    Rm(Remove),
    /// Give a machine another key, and seal what it reads to that key
    Rekey(Rekey),
    /// Put the host key that was made for a machine into its root, before it boots for the first time
    Provision(Provision),
    /// List the machines
    List(List),
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("where its key comes from").required(true).multiple(true)
    .args(["key", "key_file", "ssh", "generate"]))]
struct Add {
    /// Its name, or its name in nixosConfigurations
    name: HostWord,
    /// Its name in nixosConfigurations, where that is another
    #[arg(long, value_name = "NAME")]
    configuration: Option<Configuration>,
    /// A public key: the line of its /etc/ssh/ssh_host_ed25519_key.pub, or age1…
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// A file that holds the public key
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Take the key from the machine at this address, which is kept: user@host, ssh://user@host:port, or an ssh_config alias
    #[arg(long, value_name = "ADDRESS", value_parser = crate::cli::args::address, conflicts_with_all = ["key", "key_file", "generate"])]
    ssh: Option<Address>,
    /// The fingerprint of its host key, as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints it there
    #[arg(long, value_name = "SHA256:…", requires = "ssh")]
    fingerprint: Option<SshFingerprint>,
    /// Do not collect its hardware configuration
    #[arg(long, requires = "ssh")]
    no_hardware: bool,
    /// Make the key, and seal its private half to the admins: for a machine that is not installed yet
    #[arg(long, conflicts_with_all = ["key", "key_file"])]
    generate: bool,
    /// A tag, by which secrets can name it as @TAG (may be given again)
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tag: Vec<String>,
    /// Where it is reached later, if that is not where it is now
    #[arg(long)]
    address: Option<String>,
    /// Only write recipients.toml; someone who has an identity runs `sealift rekey`
    #[arg(long)]
    no_rekey: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Remove {
    /// The host
    name: HostWord,
    /// Do not ask, even at a terminal
    #[arg(long, short)]
    yes: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// The new key is given, or taken from the machine itself (--ssh): then it counts only if somebody vouches for it, as in
/// `host add`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("where its key comes from").required(true).multiple(true).args(["key", "key_file", "ssh"]))]
struct Rekey {
    /// The host
    name: HostWord,
    /// A public key: the line of its /etc/ssh/ssh_host_ed25519_key.pub, or age1…
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// A file that holds the public key
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Take the key from the machine, at its address or at this one
    #[arg(long, value_name = "ADDRESS", value_parser = optional_address, num_args = 0..=1, require_equals = true,
        default_missing_value = "", conflicts_with_all = ["key", "key_file"])]
    ssh: Option<At>,
    /// The fingerprint of its host key, as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints it there
    #[arg(long, value_name = "SHA256:…", requires = "ssh")]
    fingerprint: Option<SshFingerprint>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Provision {
    /// The host, added with --generate
    name: HostWord,
    /// The root of the new machine, such as /mnt
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct List {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    let (report, json) = match args.what {
        What::List(args) => return list(&args, app),
        What::Provision(args) => return provision(&args, app),
        What::Add(args) => {
            let json = args.json;
            let new = new(*args, &session)?;
            (host::add(&mut session, &new)?, json)
        }
        What::Rekey(args) => {
            let name = session.fleet.policy.named(&args.name)?.clone();
            let keys = keys_now(&args, &session, &name)?;
            (host::rekey(&mut session, &name, &keys)?, args.json)
        }
        What::Rm(args) => {
            let name = session.fleet.policy.named(&args.name)?.clone();
            (host::remove(&mut session, &name, args.yes)?, args.json)
        }
    };
    // A file without a seal is not sealed for another reader unless requested.
    let kind = (!report.rekeyed.unsealed.is_empty()).then_some(Kind::Partial);
    if json {
        app.ui.json(&report)?;
        return Ok(kind);
    }
    show(&report, app)?;
    Ok(kind)
}

/// Returns the host to add, with the facts collected from it.
fn new(args: Add, session: &Session) -> Result<New> {
    let (name, configuration) = onboard::named(&session.fleet.policy, &args.name, args.configuration)?;
    let mut new = New {
        keys: parsed(&args.key, &args.key_file)?,
        address: args.address.or_else(|| args.ssh.as_ref().map(ToString::to_string)),
        tags: args.tag,
        no_rekey: args.no_rekey,
        files: Vec::new(),
        own_key: None,
        name,
        configuration,
    };
    let learned = if let Some(address) = &args.ssh {
        let request = onboard::Request {
            name: &new.name,
            configuration: &new.configuration,
            address,
            fingerprint: args.fingerprint.as_ref(),
            hardware: !args.no_hardware,
            runtime: settings::runtime(),
        };
        Some(onboard::learn(session, &request)?)
    } else if args.generate {
        let (private, learned) = onboard::make(session, &new.name, &new.configuration)?;
        new.own_key = Some(private);
        Some(learned)
    } else {
        None
    };
    if let Some(learned) = learned {
        new.keys.push(learned.key);
        new.files = learned.files;
    }
    Ok(new)
}

/// A given address, or none for the host's own.
#[derive(Clone, Debug)]
struct At(Option<Address>);

fn optional_address(text: &str) -> Result<At, String> {
    if text.is_empty() { Ok(At(None)) } else { args::address(text).map(|address| At(Some(address))) }
}

/// Returns the new keys of a host.
fn keys_now(args: &Rekey, session: &Session, name: &HostName) -> Result<Vec<Recipient>> {
    let Some(At(address)) = &args.ssh else { return parsed(&args.key, &args.key_file) };
    let known = session.fleet.policy.host(name)?;
    let request = onboard::Request {
        name,
        configuration: &known.configuration,
        address: address.as_ref().unwrap_or(&known.address),
        fingerprint: args.fingerprint.as_ref(),
        hardware: false,
        runtime: settings::runtime(),
    };
    onboard::key_now(session, &request).map(|key| vec![key])
}

fn provision(args: &Provision, app: &App) -> Done {
    let session = app.session()?;
    let report = provision::run(&session, session.fleet.policy.named(&args.name)?, &args.root)?;
    if args.json {
        app.ui.json(&report)?;
        return Ok(None);
    }
    tell(report.host.as_str(), &report.provisioned, app.ui.printer());
    Ok(None)
}

fn show(report: &Report, app: &App) -> Result<()> {
    let host = &report.host;
    app.ui.say(&match report.change {
        HostChange::Added => match &report.configuration {
            Some(configuration) => format!("added {host} to recipients.toml; in the flake it is {configuration}"),
            None => format!("added {host} to recipients.toml"),
        },
        HostChange::Rekeyed => format!("{host} has its new key in recipients.toml"),
        HostChange::Removed => format!("removed {host}; recipients.toml remembers its keys and refuses their return"),
        HostChange::None => format!("{host} has this key already; nothing changed"),
    });
    rekey::show(&report.rekeyed, &app.ui)?;
    for file in &report.made {
        app.ui.say(&format!("generated a value for {host}: {file}"));
    }
    if !report.written.is_empty() {
        app.ui.say(&format!("wrote {}; read them before you commit", report.written.join(", ")));
    }
    if !report.kept.is_empty() {
        app.ui.say(&format!("left as they are: {}", report.kept.join(", ")));
    }
    if report.change == HostChange::Added && report.made.iter().any(|file| file.as_str() == format!("host-keys/{host}"))
    {
        app.ui.say(&format!("next: before its first boot: sealift host provision {host} --root /mnt"));
    }
    for file in &report.removed {
        app.ui.say(&format!("removed {file}, which was for {host} alone"));
    }
    if !report.knew.is_empty() {
        rekey::show_known(host.as_str(), &report.knew, &report.rekeyed, &app.ui)?;
        app.ui.say(&format!("next: sealift rotate --exposed-to {host}   (check stays at 3 until then)"));
    }
    Ok(())
}

fn list(args: &List, app: &App) -> Done {
    let session = app.session()?;
    let rows = host::list(&session);
    if args.json {
        app.ui.json_rows("hosts", &rows)?;
        return Ok(None);
    }
    if rows.is_empty() {
        nothing_yet(app, &session.fleet.policy);
    }
    table(app, &first_that_fits((0..STEPS.len()).map(|less| table_of(&rows, less)), app.ui.screen().width))
}

/// How wide tags and keys are, and whether addresses are shown, at each level of shortening. The least important goes
/// first.
const STEPS: [(usize, bool, usize); 10] = [
    (usize::MAX, true, usize::MAX),
    (usize::MAX, true, 20),
    (24, true, 20),
    (usize::MAX, true, 0),
    (24, true, 0),
    (16, true, 0),
    (10, true, 0),
    (usize::MAX, false, 0),
    (24, false, 0),
    (10, false, 0),
];

/// Returns the table. Higher levels of `less` leave out more.
fn table_of(rows: &[Row], less: usize) -> Vec<Vec<String>> {
    let (most_tags, address, most_keys) = STEPS.get(less).copied().unwrap_or_default();
    let columns = [("host", true), ("secrets", true), ("tags", true), ("address", address), ("keys", most_keys > 0)];
    let shown = |cells: [String; 5]| {
        cells.into_iter().zip(columns).filter(|(_, (_, is))| *is).map(|(cell, _)| cell).collect::<Vec<_>>()
    };
    let cells = |row: &Row| {
        let tags: Vec<String> = row.tags.iter().map(ToString::to_string).collect();
        let keys: Vec<String> = row.keys.iter().map(|key| shortened(key, most_keys)).collect();
        [
            row.called(),
            row.secrets.to_string(),
            first_words(&tags, most_tags),
            row.address.clone(),
            first_words(&keys, most_keys),
        ]
    };
    std::iter::once(columns.map(|(head, _)| head.to_owned())).chain(rows.iter().map(cells)).map(shown).collect()
}

fn parsed(keys: &[String], files: &[PathBuf]) -> Result<Vec<Recipient>> {
    let given = keys.iter().map(|text| Recipient::parse(&in_one_form(text)));
    given.chain(files.iter().flat_map(|path| of_file(path))).collect()
}

/// Reads the public keys of a file, one per line, with comments and empty lines.
fn of_file(path: &Path) -> Vec<Result<Recipient>> {
    let shown = path.display();
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => return vec![Err(error)],
    };
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<_> = keys
        .map(|(at, line)| Recipient::parse(&in_one_form(line)).map_err(|error| error.about(format!("{shown}:{at}"))))
        .collect();
    if keys.is_empty() {
        let error = Error::usage(format!("there is no public key in {shown}"));
        return vec![Err(error.help("name the .pub file of the host's key: /etc/ssh/ssh_host_ed25519_key.pub"))];
    }
    keys
}

/// Replaces runs of blanks and tabs with one blank, as OpenSSH reads a key.
fn in_one_form(line: &str) -> String {
    line.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn read(path: &Path) -> Result<String> {
    let real =
        std::fs::canonicalize(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    String::from_utf8(files::read(&real, 64 << 10)?)
        .map_err(|_| Error::usage(format!("{} is not text", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::layout::columns;

    #[test]
    fn a_host_has_one_line_at_sixty_columns() {
        let of = |name: &str| Row {
            host: name.parse().unwrap(),
            configuration: name.parse().unwrap(),
            address: format!("root@{name}.example.org"),
            tags: ["build", "desktop", "site-2"].map(|tag| tag.parse().unwrap()).to_vec(),
            keys: vec!["SHA256:SjOratoMRlr7uJ20gg4oiEf7rauELVmFr82Hay6AiyU".to_owned()],
            secrets: 31,
        };
        let rows = [of("framework-13"), of("db")];
        let shown = |width| columns(&first_that_fits((0..STEPS.len()).map(|less| table_of(&rows, less)), width), width);
        assert!(
            shown(None)[1]
                .ends_with("root@framework-13.example.org  SHA256:SjOratoMRlr7uJ20gg4oiEf7rauELVmFr82Hay6AiyU")
        );
        assert_eq!(
            shown(Some(80)),
            [
                "host          secrets  tags                  address",
                "framework-13  31       build desktop site-2  root@framework-13.example.org",
                "db            31       build desktop site-2  root@db.example.org",
            ]
        );
        for width in [60, 80, 100, 120] {
            assert_eq!(shown(Some(width)).len(), 3, "{:#?}", shown(Some(width)));
        }
    }
}
