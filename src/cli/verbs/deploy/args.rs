//! Arguments of the verbs that reach machines: which ones, how, and how long to wait.

use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::args::address;
use crate::cli::{environment, settings};
use crate::commands::deploy::request;
use crate::commands::hosts::select::Who;
use crate::domain::address::Address;
use crate::domain::deploy::protocol::LONGEST;
use crate::domain::name::{HostWord, Tag};
use crate::domain::policy::{Policy, Selector};
use crate::error::Result;

/// Which machines, and how they are reached.
#[derive(clap::Args)]
pub struct Machines {
    /// Hosts, and @tags; without any, this machine
    #[arg(value_name = "HOST|@TAG")]
    words: Vec<Word>,
    /// A host, the same as naming it without the option
    #[arg(long, value_name = "HOST")]
    host: Option<HostWord>,
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
pub enum Word {
    Host(HostWord),
    Tag(Tag),
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = match text.strip_prefix('@') {
            Some(tag) => tag.parse().map(Self::Tag),
            None => text.parse().map(Self::Host),
        };
        word.map_err(|fault| fault.to_string())
    }
}

impl Word {
    /// Resolves the word in a policy.
    pub fn selector(&self, policy: &Policy) -> Result<Selector> {
        match self {
            Self::Host(host) => policy.named(host).cloned().map(Selector::Host),
            Self::Tag(tag) => Ok(Selector::Tagged(tag.clone())),
        }
    }
}

impl Machines {
    pub fn who(self, policy: &Policy, require_all: bool) -> Result<Who> {
        let words = self.words.into_iter().chain(self.host.map(Word::Host));
        let words = words.map(|word| word.selector(policy)).collect::<Result<_>>()?;
        let who = self.reach.who(words, self.all, require_all)?;
        Ok(Who { jobs: self.jobs, ..who })
    }
}

impl Reach {
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
    pub fn patience(self) -> request::Patience {
        let Self { settle, acknowledge, ack_address } = self;
        request::Patience { settle, acknowledge, ack_address }
    }
}
