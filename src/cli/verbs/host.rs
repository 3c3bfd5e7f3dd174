//! `sealift host`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::table;
use crate::adapters::ask::Ask;
use crate::adapters::files;
use crate::cli::{App, Done};
use crate::commands::host::{self, Change, New, Report};
use crate::error::{Error, Result};
use crate::fleet::name::HostName;
use crate::fleet::recipient::Recipient;

/// The machines of the fleet.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do with a host.
#[derive(Subcommand)]
enum What {
    /// Add a machine: its key goes into recipients.toml, and what it shall read is sealed to it, in one step
    Add(Add),
    /// Remove a machine: what it could read is sealed anew for the others, and the values it knows are named
    Rm(Remove),
    /// Give a machine another key, and seal what it reads to that
    Rekey(Rekey),
    /// List the machines
    List(List),
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("a key").required(true).multiple(true))]
struct Keys {
    /// A public key: the line of its /etc/ssh/ssh_host_ed25519_key.pub, or age1…
    #[arg(long, value_name = "KEY", group = "a key")]
    key: Vec<String>,
    /// A file that holds the public key
    #[arg(long, value_name = "FILE", group = "a key")]
    key_file: Vec<PathBuf>,
}

#[derive(clap::Args)]
struct Add {
    /// Its name, as in nixosConfigurations
    name: HostName,
    #[command(flatten)]
    keys: Keys,
    /// A tag, by which secrets can name it as @TAG (may be given again)
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tag: Vec<String>,
    /// Where it is reached: user@host, ssh://user@host:port, or an ssh_config alias
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
    name: HostName,
    /// Do not ask, also at a terminal
    #[arg(long, short)]
    yes: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Rekey {
    /// The host
    name: HostName,
    #[command(flatten)]
    keys: Keys,
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

/// Does it.
pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    let (report, json) = match args.what {
        What::List(args) => return list(&args, app),
        What::Add(args) => {
            let new = New {
                name: args.name,
                keys: args.keys.parse()?,
                address: args.address,
                tags: args.tag,
                no_rekey: args.no_rekey,
            };
            (host::add(&mut session, &new)?, args.json)
        }
        What::Rekey(args) => (host::rekey(&mut session, &args.name, &args.keys.parse()?)?, args.json),
        What::Rm(args) => {
            // A script that names a host means it; a person at a terminal may have mistyped.
            let sure = args.yes
                || !std::io::stdin().is_terminal()
                || app.ui.confirm(&format!("Remove the host {}?", args.name))?;
            if !sure {
                return Err(Error::failed(format!("{} was not removed", args.name)).into());
            }
            (host::remove(&mut session, &args.name)?, args.json)
        }
    };
    if json {
        app.ui.json(&report)?;
        return Ok(None);
    }
    show(&report, app)?;
    Ok(None)
}

fn show(report: &Report, app: &App) -> Result<()> {
    let host = &report.host;
    app.ui.say(&match report.change {
        Change::Added => format!("added {host} to recipients.toml"),
        Change::Rekeyed => format!("{host} has its new key in recipients.toml"),
        Change::Removed => format!("removed {host}; recipients.toml remembers its keys and refuses their return"),
        Change::None => format!("{host} has this key already; nothing changed"),
    });
    super::rekey::show(&report.rekeyed, &app.ui)?;
    for file in &report.made {
        app.ui.say(&format!("made a value of its own for {host}: {file}"));
    }
    for file in &report.missing {
        app.ui.say(&format!("{file} has no value yet: sealift seal {file}"));
    }
    for file in &report.removed {
        app.ui.say(&format!("removed {file}, which was for {host} alone"));
    }
    if !report.knew.is_empty() {
        app.ui.say(&format!("{host} knows these values until they get new ones:"));
        for file in &report.knew {
            app.ui.line(&format!("knows {file}"))?;
        }
        app.ui.say(&format!("next: sealift rotate --exposed-to {host}   (check stays at 3 until then)"));
    }
    Ok(())
}

fn list(args: &List, app: &App) -> Done {
    let rows = host::list(&app.session()?);
    if args.json {
        app.ui.json_rows("hosts", &rows)?;
        return Ok(None);
    }
    let mut lines = vec![["host", "secrets", "tags", "address", "keys"].map(str::to_owned).to_vec()];
    for row in rows {
        let tags: Vec<String> = row.tags.iter().map(ToString::to_string).collect();
        lines.push(vec![
            row.host.to_string(),
            row.secrets.to_string(),
            tags.join(" "),
            row.address,
            row.keys.join(" "),
        ]);
    }
    table(app, &lines)
}

impl Keys {
    fn parse(&self) -> Result<Vec<Recipient>> {
        let texts = self.key.iter().map(|text| Ok(text.clone())).chain(self.key_file.iter().map(|path| read(path)));
        texts.map(|text| Recipient::parse(&text?)).collect()
    }
}

fn read(path: &Path) -> Result<String> {
    let real =
        std::fs::canonicalize(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    String::from_utf8(files::read(&real, 64 << 10)?)
        .map_err(|_| Error::usage(format!("{} is not text", path.display())))
}
