//! Parses recipients.toml into a `Policy`, or fails with the file, line and key of every fault, but never with the
//! line's text, which may be a pasted key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use crate::domain::address::Address;
use crate::domain::name::{AdminName, Configuration, HostName, SecretName, Tag, nearest};
use crate::domain::policy::allow::Allow;
use crate::domain::policy::check::RawCheck;
use crate::domain::policy::deploy::RawDeploy;
use crate::domain::policy::reader::{At, Reader, Text, shown};
use crate::domain::policy::schema::{RawAllow, RawHost, RawPolicy};
use crate::domain::policy::syntax::tables;
use crate::domain::policy::{Check, DeploySettings, FILE, Host, Policy, Retired, Selector};
use crate::domain::scan;
use crate::domain::secret::recipient::{OPEN, Recipient, private_key};
use crate::error::{Error, Result};

/// The maximum size of the file, in bytes.
pub const LIMIT: u64 = 4 << 20;
/// The version of the format that this program reads.
pub const VERSION: i64 = 1;
/// Parses the text of recipients.toml.
pub fn parse(text: &str) -> Result<Policy> {
    read(text, true)
}

/// Parses a new text that is not in the file yet, so that errors have no line numbers.
pub fn parse_edited(text: &str) -> Result<Policy> {
    read(text, false)
}

fn read(text: &str, in_file: bool) -> Result<Policy> {
    let (raw, lines) = tables(text)?;
    let mut reader = Reader { lines, in_file, faults: Vec::new() };
    let policy = reader.policy(raw);
    let count = reader.faults.len();
    if count == 0 { Ok(policy) } else { Err(Error::batch(format!("{FILE} has {count} faults"), reader.faults)) }
}

impl Reader {
    fn keys(&mut self, texts: &[Text], key: &str) -> Vec<(Recipient, Range<usize>)> {
        let mut keys: Vec<(Recipient, Range<usize>)> = Vec::new();
        for text in texts {
            match Recipient::parse(&text.value) {
                Ok(recipient) if keys.iter().any(|(known, _)| *known == recipient) => {
                    self.fault(&text.span, key, "this key is listed twice", "keep one of the two");
                }
                Ok(recipient) => keys.push((recipient, text.span.clone())),
                Err(error) => self.fault(&text.span, key, error.message(), error.advice().unwrap_or_default()),
            }
        }
        keys
    }

    /// Registers the keys of a holder. A key that another holder has is a fault.
    fn held(
        &mut self,
        holders: &mut BTreeMap<String, String>,
        keys: Vec<(Recipient, Range<usize>)>,
        key: &str,
        holder: &str,
        retired: bool,
    ) -> Vec<Recipient> {
        for (recipient, span) in &keys {
            if let Some(other) = holders.insert(recipient.canonical().to_owned(), holder.to_owned()) {
                let help = if retired {
                    format!(
                        "{holder} was removed, and may still have it: give {other} another key; if the removal was a mistake, undo it in git"
                    )
                } else {
                    "each key has one holder: a shared key cannot be taken from one of them".to_owned()
                };
                self.fault(span, key, format!("this key is also the key of {other}"), help);
            }
        }
        keys.into_iter().map(|(recipient, _)| recipient).collect()
    }

    fn policy(&mut self, raw: RawPolicy) -> Policy {
        let mut policy = Policy::default();
        if raw.version.value != VERSION {
            let newer = raw.version.value > VERSION;
            let help = if newer { "use a newer sealift" } else { "the version is 1" };
            self.fault(&raw.version.span, "version", "this version is not known", help);
            return policy;
        }
        let mut holders = BTreeMap::new();
        for (name, texts) in raw.admins {
            let key = format!("admins.{}", shown(&name.value));
            let keys = self.keys(&texts, &key);
            if texts.is_empty() {
                self.fault(&name.span, &key, "an admin without a key", "add a recipient, or remove the admin");
            }
            let keys = self.held(&mut holders, keys, &key, &format!("admin {}", shown(&name.value)), false);
            if let Some(name) = self.word::<AdminName>(&name, "admins") {
                policy.admins.insert(name, keys);
            }
        }
        let mut configurations = Vec::new();
        for (name, raw) in raw.hosts {
            let key = format!("hosts.{}", shown(&name.value));
            let of_keys = format!("{key}.keys");
            let keys = self.keys(&raw.keys.value, &of_keys);
            if raw.keys.value.is_empty() {
                let help = "add the line of its /etc/ssh/ssh_host_ed25519_key.pub";
                self.fault(&raw.keys.span, &of_keys, "a host without a key", help);
            }
            let keys = self.held(&mut holders, keys, &of_keys, &format!("host {}", shown(&name.value)), false);
            if let Some(host) = self.word::<HostName>(&name, "hosts") {
                configurations.extend(raw.configuration.as_ref().map(|text| (host.clone(), text.span.clone())));
                let host_value = self.host(&host, raw, keys);
                policy.hosts.insert(host, host_value);
            }
        }
        self.one_name_each(&policy, &configurations);
        for (name, raw) in raw.retired {
            let key = format!("retired.{}", shown(&name.value));
            let keys = self.keys(&raw.keys, &key);
            let keys = self.held(&mut holders, keys, &key, &format!("retired host {}", shown(&name.value)), true);
            // Only people read it, but it must still be a date.
            let _since = raw.since.and_then(|since| self.day(&since, &format!("{key}.since")));
            if let Some(name) = self.word::<HostName>(&name, "retired") {
                policy.retired.insert(name, Retired { keys });
            }
        }
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        let mut spans = Vec::new();
        for (name, raw) in raw.secrets {
            let Some(secret_name) = self.word::<SecretName>(&name, "secrets") else { continue };
            let secret = self.secret(&policy, &secret_name, &name, raw);
            if let Some(other) = paths.insert(secret.delivery.path.clone(), secret_name.to_string()) {
                self.fault(
                    &name.span,
                    &format!("secrets.{secret_name}"),
                    format!("it is delivered to the path of {other}"),
                    "give one of them another `path`",
                );
            }
            spans.push((secret_name.clone(), name.span));
            policy.secrets.insert(secret_name, secret);
        }
        self.folders(&spans, &paths);
        policy.deploy = self.deploy(&policy, raw.deploy);
        for (name, raw) in raw.checks {
            if let Some(check) = self.check(&policy, &name, raw) {
                policy.checks.insert(name.value, check);
            }
        }
        policy.allowed = raw.scan.allow.into_iter().filter_map(|allow| self.allow(allow)).collect();
        policy
    }

    /// An allowed finding: a known rule, a path inside the repository, a reason.
    fn allow(&mut self, raw: RawAllow) -> Option<Allow> {
        let before = self.faults.len();
        if scan::rules::named(&raw.rule.value).is_none() {
            let near = nearest(&raw.rule.value, scan::rules::names());
            let help = near.map_or_else(
                || "`sealift scan --rules` lists them".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            self.fault(&raw.rule.span, "scan.allow.rule", "no rule has this name", help);
        }
        let path = &raw.path.value;
        if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let help = "a path from the top of the repository, such as `tests/*.nix`";
            self.fault(&raw.path.span, "scan.allow.path", "not a path inside the repository", help);
        }
        if raw.reason.value.trim().is_empty() {
            self.fault(&raw.reason.span, "scan.allow.reason", "no reason is given", "say why it may stay");
        }
        let line = self.lines.at(raw.rule.span.start);
        let allow = Allow { rule: raw.rule.value, path: raw.path.value, reason: raw.reason.value, line };
        (self.faults.len() == before).then_some(allow)
    }

    /// No two hosts may share a name, whether the name here or the one in the flake: one would get the other's system.
    fn one_name_each(&mut self, policy: &Policy, configurations: &[(HostName, Range<usize>)]) {
        let mut of: BTreeMap<&str, &HostName> = policy.hosts.keys().map(|host| (host.as_str(), host)).collect();
        for (host, span) in configurations {
            let Some(Host { configuration, .. }) = policy.hosts.get(host) else { continue };
            if let Some(other) = of.insert(configuration.as_str(), host).filter(|other| *other != host) {
                self.fault(
                    span,
                    &format!("hosts.{host}.configuration"),
                    format!("{configuration} is also what the host {other} is called"),
                    "each host has a system of its own: give one of them another `configuration`, or another name",
                );
            }
        }
    }

    fn host(&mut self, name: &HostName, raw: RawHost, keys: Vec<Recipient>) -> Host {
        let key = format!("hosts.{name}");
        let ssh_keys = match raw.ssh_keys {
            None => keys.iter().filter(|key| key.ssh_tag().is_some()).map(|key| key.canonical().to_owned()).collect(),
            Some(texts) => texts.iter().filter_map(|text| self.pin(text, &format!("{key}.ssh_keys"))).collect(),
        };
        let own = || Address { user: None, host: name.to_string(), port: None };
        let address = raw.address.map_or_else(own, |text| {
            Address::parse(&text.value).unwrap_or_else(|| {
                self.fault(
                    &text.span,
                    &format!("{key}.address"),
                    "not an address",
                    "an address is user@host, ssh://user@host:port or an alias from ssh_config",
                );
                own()
            })
        });
        let configuration = raw.configuration.and_then(|text| self.word(&text, &format!("{key}.configuration")));
        let configuration = configuration.unwrap_or_else(|| Configuration::from(name));
        let tags = raw.tags.iter().filter_map(|tag| self.word::<Tag>(tag, &format!("{key}.tags"))).collect();
        Host { keys, ssh_keys, address, configuration, tags }
    }

    /// An SSH public key that a host must present; unlike a recipient, of any type.
    fn pin(&mut self, text: &Text, key: &str) -> Option<String> {
        let mut words = text.value.split(' ');
        let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // Anyone who can compute the private key can impersonate the host.
        if matches!(kind, "ssh-ed25519" | "ssh-rsa")
            && let Err(error) = Recipient::parse(&format!("{kind} {blob}"))
            && error.message().starts_with(OPEN)
        {
            self.fault(
                &text.span,
                key,
                "everybody can pass for a machine with this key",
                error.advice().unwrap_or_default(),
            );
            return None;
        }
        let kinds = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
        let encoded = blob.len() >= 40 && blob.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        if private_key(&text.value).is_some() || !kinds.contains(&kind) || !encoded {
            self.fault(&text.span, key, "not an SSH public key", "copy the line of a .pub file in /etc/ssh");
            return None;
        }
        Some(format!("{kind} {blob}"))
    }

    pub(super) fn selectors(
        &mut self,
        policy: &Policy,
        texts: &[Text],
        key: &str,
    ) -> (Vec<Selector>, BTreeSet<HostName>) {
        let mut selectors = Vec::new();
        let mut hosts = BTreeSet::new();
        for text in texts {
            let called = policy.called(&text.value).filter(|host| host.as_str() != text.value);
            let in_flake = called.map(|host| format!("did you mean `{host}`? The other is its name in the flake"));
            let like = || {
                let is_label = text.value.parse::<HostName>().is_ok() || text.value.parse::<Configuration>().is_err();
                policy.like(&text.value).filter(|_| !is_label).map(|host| format!("did you mean `{host}`?"))
            };
            if let Some(help) = in_flake.or_else(like) {
                self.fault(&text.span, key, format!("unknown host `{}`", text.value), help);
                continue;
            }
            let selector = if text.value == "*" {
                Some(Selector::All)
            } else if let Some(tag) = text.value.strip_prefix('@') {
                self.word(&At { span: text.span.clone(), value: tag.to_owned() }, key).map(Selector::Tagged)
            } else {
                self.word(text, key).map(Selector::Host)
            };
            let Some(selector) = selector else { continue };
            match policy.select(std::slice::from_ref(&selector)) {
                Ok(found) => hosts.extend(found),
                Err(_) => {
                    let words = policy.selector_words();
                    let near = policy.like(&text.value).map(HostName::as_str);
                    let help = match near.or_else(|| nearest(&text.value, words.iter().map(String::as_str))) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if words.is_empty() => {
                            "there are no hosts yet: add one: `sealift host add NAME --ssh USER@ADDRESS`".into()
                        }
                        None => format!("known: {}", words.join(", ")),
                    };
                    self.fault(&text.span, key, format!("unknown host `{selector}`"), help);
                }
            }
            selectors.push(selector);
        }
        (selectors, hosts)
    }

    fn deploy(&mut self, policy: &Policy, raw: RawDeploy) -> DeploySettings {
        let canary = raw.canary.and_then(|text| {
            let host = self.word::<HostName>(&text, "deploy.canary")?;
            if !policy.hosts.contains_key(&host) {
                self.fault(&text.span, "deploy.canary", "not a host of this fleet", "");
            }
            Some(host)
        });
        let jobs = raw.jobs.and_then(|jobs| {
            if !(1..=256).contains(&jobs.value) {
                self.fault(&jobs.span, "deploy.jobs", "out of range", "1 to 256");
                return None;
            }
            Some(jobs.value)
        });
        let sign_key = raw.sign_key.and_then(|text| {
            let fits = text.value.starts_with('/') || text.value.starts_with("~/");
            if !fits {
                let help = "name it by an absolute path, or one below `~/`: it must not lie in the repository";
                self.fault(&text.span, "deploy.sign_key", "not an absolute path", help);
            }
            fits.then(|| PathBuf::from(text.value))
        });
        let at_most = raw.at_most.into_iter().filter_map(|(word, count)| self.at_most(policy, &word, &count)).collect();
        DeploySettings { engine: raw.engine.unwrap_or_default(), jobs, canary, at_most, diff: raw.diff, sign_key }
    }

    /// An entry of `deploy.at_most`: how many hosts with a tag are deployed at the same time.
    fn at_most(&mut self, policy: &Policy, word: &Text, count: &At<u32>) -> Option<(Tag, u32)> {
        let key = "deploy.at_most";
        let Some(name) = word.value.strip_prefix('@') else {
            self.fault(&word.span, key, "not a tag", "write it as \"@web\"");
            return None;
        };
        let tag = self.word::<Tag>(&At { span: word.span.clone(), value: name.to_owned() }, key)?;
        if !policy.hosts.values().any(|host| host.tags.contains(&tag)) {
            let tags: BTreeSet<&str> = policy.hosts.values().flat_map(|host| &host.tags).map(Tag::as_str).collect();
            let near = nearest(tag.as_str(), tags);
            self.fault(
                &word.span,
                key,
                "no host has this tag",
                near.map_or_else(String::new, |near| format!("did you mean `@{near}`?")),
            );
        }
        if !(1..=256).contains(&count.value) {
            self.fault(&count.span, key, "out of range", "1 to 256");
        }
        Some((tag, count.value))
    }

    fn check(&mut self, policy: &Policy, name: &Text, mut raw: RawCheck) -> Option<Check> {
        let key = format!("checks.{}", shown(&name.value));
        self.word::<AdminName>(name, "checks")?;
        let hosts = match raw.on.take() {
            None => policy.hosts.keys().cloned().collect(),
            Some(texts) => self.selectors(policy, &texts, &format!("{key}.on")).1,
        };
        self.probe(&key, name, raw).map(|probe| Check { hosts, probe })
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
