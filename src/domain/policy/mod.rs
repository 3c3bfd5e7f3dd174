//! The policy: who may read what, parsed into types that exclude invalid values. `parse` creates it.

pub mod allow;
mod check;
mod deploy;
pub mod edit;
pub mod generate;
pub mod parse;
mod parse_secret;
pub mod paths;
mod reader;
pub mod schema;
mod syntax;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;

use jiff::civil::Date;

use crate::domain::address::Address;
use crate::domain::name::{
    AdminName, Configuration, FileName, HostName, HostWord, SecretName, Tag, UnitName, UnixName, nearest,
};
use crate::domain::policy::allow::Allow;
use crate::domain::policy::generate::Generate;
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Result};

pub use crate::domain::policy::check::Probe;
pub use crate::domain::policy::deploy::{DeploySettings, Differ, Engine};
pub use crate::domain::policy::reader::FILE;

/// The folder of the secrets that hold host keys of machines, by name: only admins can read one, until its machine has
/// the key.
pub const HOST_KEYS: &str = "host-keys";

/// The content of `recipients.toml`.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// People who can open every secret.
    pub admins: BTreeMap<AdminName, Vec<Recipient>>,
    pub hosts: BTreeMap<HostName, Host>,
    /// Removed machines and their keys.
    pub retired: BTreeMap<HostName, Retired>,
    pub secrets: BTreeMap<SecretName, Secret>,
    pub deploy: DeploySettings,
    /// What is checked before and after a deploy.
    pub checks: BTreeMap<String, Check>,
    /// Findings that `scan` accepts.
    pub allowed: Vec<Allow>,
}

/// A machine that receives secrets and system generations.
#[derive(Clone, Debug)]
pub struct Host {
    /// The keys that secrets are encrypted to.
    pub keys: Vec<Recipient>,
    /// The keys it must present over SSH, as `type base64`; by default the SSH keys in `keys`.
    pub ssh_keys: Vec<String>,
    /// Its address; by default its name.
    pub address: Address,
    /// Its name in the flake, which the machine may also use as its host name; by default its name.
    pub configuration: Configuration,
    pub tags: BTreeSet<Tag>,
}

/// A machine that was removed.
#[derive(Clone, Debug)]
pub struct Retired {
    /// The keys it had.
    pub keys: Vec<Recipient>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// The hosts that receive it.
    pub hosts: BTreeSet<HostName>,
    /// The list of hosts as written: names, `@tags`, `*`.
    pub selectors: Vec<Selector>,
    /// Whether each host has its own value.
    pub per_host: bool,
    pub delivery: Delivery,
    /// The format of its payload.
    pub shape: Shape,
    /// How `rotate` makes a new value; `None`: it asks.
    pub generate: Option<Generate>,
    /// The number of days after which a value is overdue for rotation.
    pub rotate_every: Option<NonZeroU32>,
    /// The day on which the value expires.
    pub expires: Option<Date>,
    /// Whether `install` accepts a file without a seal.
    pub allow_unsealed: bool,
    pub description: String,
    /// The line of its declaration in recipients.toml.
    pub line: usize,
}

/// How a secret is delivered to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub owner: UnixName,
    pub group: UnixName,
    pub mode: Mode,
    /// The path of the delivered file.
    pub path: String,
    /// Units restarted if, and only if, the delivered bytes changed.
    pub restart: Vec<UnitName>,
    /// Units reloaded in that case.
    pub reload: Vec<UnitName>,
    /// Whether it is needed before users are created.
    pub needed_for_users: bool,
}

/// Permissions of a delivered file: none for others, no execute or set-id bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Mode {
    /// Parses `0400` or `400`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let mode = digits.then(|| u32::from_str_radix(text, 8).ok()).flatten()?;
        (mode & !0o660 == 0 && mode & 0o400 != 0).then_some(Self(mode))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// One entry of a list of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Host(HostName),
    /// Every host with this tag.
    Tagged(Tag),
    All,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Host(host) => host.fmt(f),
            Selector::Tagged(tag) => write!(f, "@{tag}"),
            Selector::All => f.write_str("*"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Check {
    pub hosts: BTreeSet<HostName>,
    pub probe: Probe,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    Admin(AdminName),
    Host(HostName),
    /// A removed host.
    Retired(HostName),
    /// The holder of this key in an earlier recipients.toml.
    Past(String),
}

impl Holder {
    pub fn name(&self) -> &str {
        match self {
            Holder::Admin(name) => name.as_str(),
            Holder::Host(name) | Holder::Retired(name) => name.as_str(),
            Holder::Past(name) => name,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Admin(name) => write!(f, "{name} (admin)"),
            Holder::Host(name) => name.fmt(f),
            Holder::Retired(name) => write!(f, "{name} (retired)"),
            Holder::Past(name) => write!(f, "{name} (a key of an earlier recipients.toml)"),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Keys<'a> {
    pub known: BTreeMap<Fingerprint, &'a Recipient>,
    pub holders: BTreeMap<Fingerprint, Holder>,
}

impl<'a> Keys<'a> {
    /// Adds the keys of an earlier policy that are not known yet.
    #[must_use]
    pub fn with_past(mut self, past: &'a Policy) -> Self {
        let holders = past.holders();
        for (key, recipient) in past.known_keys() {
            if let (None, Some(holder)) = (self.known.get(&key), holders.get(&key)) {
                self.known.insert(key, recipient);
                self.holders.insert(key, Holder::Past(holder.name().to_owned()));
            }
        }
        self
    }
}

/// A sealed file that the policy requires.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub file: FileName,
    /// The secret whose value it holds.
    pub name: &'a SecretName,
    /// Its declaration.
    pub secret: &'a Secret,
    /// The hosts that read it: all hosts of the secret, or the one whose own value it holds.
    pub hosts: Vec<&'a HostName>,
}

impl Policy {
    /// Every sealed file that the policy requires, by name.
    pub fn wanted(&self) -> BTreeMap<FileName, Wanted<'_>> {
        self.secrets
            .iter()
            .flat_map(|(name, secret)| Self::wanted_of(name, secret))
            .map(|w| (w.file.clone(), w))
            .collect()
    }

    /// The sealed files of one secret.
    pub fn wanted_of<'a>(name: &'a SecretName, secret: &'a Secret) -> Vec<Wanted<'a>> {
        if secret.per_host {
            let own = |host| Wanted { file: name.file_of(host), name, secret, hosts: vec![host] };
            secret.hosts.iter().map(own).collect()
        } else {
            vec![Wanted { file: name.file(), name, secret, hosts: secret.hosts.iter().collect() }]
        }
    }

    /// The keys that a file of these hosts is encrypted to: those of all admins and of these hosts, without duplicates,
    /// sorted by fingerprint.
    pub fn recipients_of(&self, hosts: &[&HostName]) -> BTreeMap<Fingerprint, &Recipient> {
        let of_hosts = hosts.iter().filter_map(|host| self.hosts.get(host.as_str())).flat_map(|host| &host.keys);
        self.admins.values().flatten().chain(of_hosts).map(|key| (key.fingerprint(), key)).collect()
    }

    /// The holder of every key that the policy knows, including retired ones.
    pub fn holders(&self) -> BTreeMap<Fingerprint, Holder> {
        let admins =
            self.admins.iter().flat_map(|(name, keys)| keys.iter().map(move |key| (key, Holder::Admin(name.clone()))));
        let hosts = self
            .hosts
            .iter()
            .flat_map(|(name, host)| host.keys.iter().map(move |key| (key, Holder::Host(name.clone()))));
        let retired = self
            .retired
            .iter()
            .flat_map(|(name, gone)| gone.keys.iter().map(move |key| (key, Holder::Retired(name.clone()))));
        retired.chain(hosts).chain(admins).map(|(key, holder)| (key.fingerprint(), holder)).collect()
    }

    /// Every key that the policy knows, including retired ones.
    pub fn known_keys(&self) -> BTreeMap<Fingerprint, &Recipient> {
        let hosts = self.hosts.values().flat_map(|host| &host.keys);
        let retired = self.retired.values().flat_map(|gone| &gone.keys);
        self.admins.values().flatten().chain(hosts).chain(retired).map(|key| (key.fingerprint(), key)).collect()
    }

    /// Every key that the policy knows, with its holder.
    pub fn keys(&self) -> Keys<'_> {
        Keys { known: self.known_keys(), holders: self.holders() }
    }

    /// The name of a host in the flake.
    pub fn configuration(&self, host: &HostName) -> Configuration {
        self.hosts.get(host).map_or_else(|| host.into(), |host| host.configuration.clone())
    }

    /// The host with this name, in the policy or in the flake.
    pub fn called(&self, word: &str) -> Option<&HostName> {
        let by_name = self.hosts.get_key_value(word);
        let found = by_name.or_else(|| self.hosts.iter().find(|(_, host)| host.configuration.as_str() == word));
        found.map(|(name, _)| name)
    }

    /// The host whose name, here or in the flake, is most like a word.
    pub fn like(&self, word: &str) -> Option<&HostName> {
        let names = self.hosts.iter().flat_map(|(name, host)| [name.as_str(), host.configuration.as_str()]);
        nearest(word, names).and_then(|near| self.called(near))
    }

    /// The host with this name as given on the command line; fails if there is none.
    pub fn named(&self, word: &HostWord) -> Result<&HostName> {
        self.called(word.as_str()).ok_or_else(|| self.no_host(word.as_str()))
    }

    /// The host with this name; fails if there is none.
    pub fn host(&self, name: &HostName) -> Result<&Host> {
        self.hosts.get(name).ok_or_else(|| self.no_host(name.as_str()))
    }

    /// The error for an unknown host: it says if the host was removed, or if the name is similar to another.
    pub fn no_host(&self, name: &str) -> Error {
        if self.retired.contains_key(name) {
            return Error::usage(format!("{name} was removed from {FILE}"))
                .help(format!("`sealift who --host {name}` shows what it still knows"));
        }
        let error = Error::usage(format!("there is no host {name} in {FILE}"));
        let gone = || nearest(name, self.retired.keys().map(HostName::as_str));
        match self.like(name).map(HostName::as_str).or_else(gone) {
            Some(near) => error.help(format!("did you mean {near}?")),
            None => error
                .help(format!("`sealift host list` shows them; `sealift host add {name} --ssh USER@ADDRESS` adds one")),
        }
    }

    /// The error for an unknown admin.
    pub fn no_admin(&self, name: &AdminName) -> Error {
        let error = Error::usage(format!("there is no admin {name} in {FILE}"));
        match nearest(name.as_str(), self.admins.keys().map(AdminName::as_str)) {
            Some(near) => error.help(format!("did you mean {near}?")),
            None => error.help("`sealift admin list` shows them"),
        }
    }

    /// The hosts that a list of selectors matches. `Err` is the first selector that matches nothing.
    pub fn select<'a>(&self, selectors: &'a [Selector]) -> Result<BTreeSet<HostName>, &'a Selector> {
        let mut chosen = BTreeSet::new();
        for selector in selectors {
            match selector {
                Selector::All => chosen.extend(self.hosts.keys().cloned()),
                Selector::Host(host) => {
                    if !self.hosts.contains_key(host) {
                        return Err(selector);
                    }
                    chosen.insert(host.clone());
                }
                Selector::Tagged(tag) => {
                    let tagged = self.hosts.iter().filter(|(_, host)| host.tags.contains(tag));
                    let before = chosen.len();
                    chosen.extend(tagged.clone().map(|(name, _)| name.clone()));
                    if chosen.len() == before && tagged.count() == 0 {
                        return Err(selector);
                    }
                }
            }
        }
        Ok(chosen)
    }

    /// The entries that a list of hosts may contain, for suggestions.
    pub fn selector_words(&self) -> Vec<String> {
        let tags: BTreeSet<_> = self.hosts.values().flat_map(|host| &host.tags).collect();
        self.hosts.keys().map(ToString::to_string).chain(tags.into_iter().map(|tag| format!("@{tag}"))).collect()
    }
}
