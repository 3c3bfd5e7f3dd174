//! What the verbs that reach machines share: which ones, how they are reached, and how long is waited.

use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::args::address;
use crate::cli::{environment, settings};
use crate::commands::deploy::request;
use crate::commands::hosts::select::Who;
use crate::domain::address::Address;
use crate::domain::deploy::protocol::LONGEST;
use crate::domain::name::{HostName, Tag};
use crate::domain::policy::Selector;
use crate::error::Result;

/// Which machines, and how they are reached.
#[derive(clap::Args)]
pub struct Machines {
    /// Hosts, and @tags; without any, this machine
    #[arg(value_name = "HOST|@TAG")]
    words: Vec<Word>,
    /// A host, the same as naming it without the option
    #[arg(long, value_name = "HOST")]
    host: Option<HostName>,
    /// All hosts of the fleet
    #[arg(long, conflicts_with_all = ["words", "host"])]
    all: bool,
    /// How many hosts at a time [default: that of recipients.toml, else 4, or 16 where they are only looked at]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: Option<u32>,
    #[command(flatten)]
    reach: Reach,
}

/// How machines are reached.
#[derive(clap::Args)]
pub struct Reach {
    /// The root directory of a machine that is not running, such as one under /mnt
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Ask for the sudo password on hosts that want one, once per host
    #[arg(long)]
    ask_sudo: bool,
    /// The sealift-host to bring to hosts that have none yet and are of another architecture than this machine
    #[arg(long, value_name = "FILE")]
    host_program: Option<PathBuf>,
}

/// How long is waited.
#[derive(clap::Args)]
pub struct Patience {
    /// How many seconds a check that got worse may take to recover
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=LONGEST))]
    settle: u64,
    /// How many seconds a machine waits for us to come back over a new connection before it goes back
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    acknowledge: u64,
    /// Where the machine is reached after the switch, if its address changes
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    ack_address: Option<Address>,
}

/// A host or a tag.
#[derive(Clone, Debug)]
pub struct Word(pub Selector);

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = match text.strip_prefix('@') {
            Some(tag) => tag.parse::<Tag>().map(Selector::Tagged).map_err(|fault| fault.to_string()),
            None => text.parse::<HostName>().map(Selector::Host).map_err(|fault| fault.to_string()),
        };
        word.map(Self)
    }
}

impl Machines {
    /// As a request.
    pub fn who(self, require_all: bool) -> Result<Who> {
        let words = self.words.into_iter().map(|word| word.0).chain(self.host.map(Selector::Host));
        let who = self.reach.who(words.collect(), self.all, require_all)?;
        Ok(Who { jobs: self.jobs, ..who })
    }
}

impl Reach {
    /// As a request for these hosts.
    pub fn who(self, words: Vec<Selector>, all: bool, require_all: bool) -> Result<Who> {
        Ok(Who {
            words,
            all,
            root: self.root,
            require_all,
            jobs: None,
            ask_sudo: self.ask_sudo,
            host_program: self.host_program,
            runtime: settings::runtime(),
            caller: environment::caller()?,
        })
    }
}

impl Patience {
    /// As a request.
    pub fn patience(self) -> request::Patience {
        let Self { settle, acknowledge, ack_address } = self;
        request::Patience { settle, acknowledge, ack_address }
    }
}
