//! The text of recipients.toml: read into a `Policy`, or refused with every fault's file, line and key, never with the
//! line itself (it may hold a pasted key).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use crate::domain::address::Address;
use crate::domain::guarded::guarded;
use crate::domain::name::{AdminName, HostName, SecretName, Tag, UnitName, UnixName, nearest};
use crate::domain::policy::allow::Allow;
use crate::domain::policy::check::RawCheck;
use crate::domain::policy::generate::SIZES;
use crate::domain::policy::paths::{DELIVERED, DELIVERED_FOR_USERS, path_fault};
use crate::domain::policy::reader::{At, Lines, Reader, Text, shown};
use crate::domain::policy::schema::{RawAllow, RawDeploy, RawHost, RawPolicy, RawSecret};
use crate::domain::policy::{Check, Delivery, DeploySettings, FILE, Host, Mode, Policy, Retired, Secret, Selector};
use crate::domain::scan;
use crate::domain::secret::recipient::{OPEN, Recipient, private_key};
use crate::domain::secret::shape::Shape;
use crate::domain::toml_one::newer;
use crate::error::{Error, Result};

/// The largest file that is read, in bytes.
pub const LIMIT: u64 = 4 << 20;
/// The version of the form that this program reads.
pub const VERSION: i64 = 1;
/// Reads the text of recipients.toml.
pub fn parse(text: &str) -> Result<Policy> {
    read(text, true)
}

/// Reads a text that recipients.toml would have: what it refuses was not in the file, and none of its lines is named.
pub fn parse_edited(text: &str) -> Result<Policy> {
    read(text, false)
}

fn read(text: &str, in_file: bool) -> Result<Policy> {
    if text.starts_with('\u{feff}') {
        return Err(
            Error::usage(format!("{FILE}:1: it begins with a byte order mark")).help("save it as UTF-8 without BOM")
        );
    }
    let lines = Lines::of(text);
    if let Some(at) = text.find('\r') {
        return Err(Error::usage(format!("{FILE}:{}: it has CRLF line endings", lines.at(at)))
            .help("git's core.autocrlf does that, to sealed files too: put the lines `recipients.toml text eol=lf` and `secrets/**/*.age binary merge=binary` into .gitattributes, then `rm -r recipients.toml secrets` and `git checkout -- recipients.toml secrets`; where it was an editor, save the file with LF"));
    }
    if let Some(at) =
        text.match_indices("<<<<<<< ").map(|(at, _)| at).find(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n')
    {
        return Err(Error::usage(format!("{FILE}:{}: a merge left conflict markers", lines.at(at)))
            .help("resolve the merge, then run `sealift check`"));
    }
    let raw: RawPolicy = guarded(|| toml::from_str(text))
        .ok_or_else(|| Error::usage(format!("{FILE} is not valid TOML")))?
        .map_err(|fault| syntax(text, &lines, &fault))?;
    if let Some((at, what)) = newer(text) {
        return Err(Error::usage(format!("{FILE}:{}: {what}: Nix, which reads this file too, takes TOML 1.0 only", lines.at(at)))
            .help("write a table of several lines under a heading of its own in brackets, and a character as itself or as \\u…"));
    }
    let mut reader = Reader { lines, in_file, faults: Vec::new() };
    let policy = reader.policy(raw);
    let count = reader.faults.len();
    if count == 0 { Ok(policy) } else { Err(Error::batch(format!("{FILE} has {count} faults"), reader.faults)) }
}

/// Says in our own words what the TOML parser or serde refused: theirs may quote the text.
fn syntax(text: &str, lines: &Lines, fault: &toml::de::Error) -> Error {
    let offset = fault.span().map_or(0, |span| span.start);
    let line = lines.at(offset);
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    if let Some(error) = source.split(['"', '\'', '=', ' ', ',']).find_map(private_key) {
        return Error::usage(format!("{FILE}:{line}: {}", error.message())).help(error.advice().unwrap_or_default());
    }
    let message = fault.message();
    let quoted = |from: &str| message.strip_prefix(from).and_then(|rest| rest.split('`').next());
    let at = |what: String| Error::usage(format!("{FILE}:{line}: {what}"));
    if let Some(word) = quoted("unknown field `").or(quoted("unknown variant `")) {
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        // A word that is like no known one may be a value at the wrong place: it is not quoted.
        return match nearest(word, known.iter().copied()) {
            Some(near) => at(format!("unknown key or word `{word}`")).help(format!("did you mean `{near}`?")),
            None => at("an unknown key or word".to_owned()).help(format!("known here: {}", known.join(", "))),
        };
    }
    if let Some(word) = quoted("missing field `") {
        return at(format!("`{word}` is missing"));
    }
    if let Some((_, expected)) = message.rsplit_once(", expected ").filter(|_| message.starts_with("invalid ")) {
        let key = source.split_once('=').map(|(key, _)| key.trim()).filter(|key| is_key(key));
        let named = key.map_or_else(String::new, |key| format!("{key}: "));
        return at(format!("{named}expected {}", kind(expected)));
    }
    if message.starts_with("duplicate key") {
        return at("this key is given twice".to_owned()).help("keep one of the two");
    }
    at("not valid TOML here".to_owned()).help("look for an unclosed quote or bracket, a missing `=`, or a value without its double quotes: `mode = \"0400\"`, `hosts = [\"web\"]`")
}

/// Whether a text is a key of the format, and no value that stands in a wrong place.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= 24 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// What serde expected, in the words of the file's format.
fn kind(expected: &str) -> &'static str {
    let whole = |rest: &str| rest.parse::<u8>().is_ok_and(|bits| matches!(bits, 8 | 16 | 32 | 64));
    match expected {
        "a sequence" => "a list, as in [\"…\"]",
        "a string" => "text in quotes",
        "a boolean" => "true or false",
        "a map" => "a table",
        "an integer" => "a whole number",
        "a nonzero u32" => "a whole number above 0",
        other if other.strip_prefix(['u', 'i']).is_some_and(whole) => "a whole number",
        other if other.contains("enum Generate") => "a table, as in { kind = \"password\" }",
        other if other.starts_with("struct ") || other.contains("enum ") => "a table",
        _ => "another kind of value",
    }
}

impl Reader {
    fn keys(&mut self, texts: &[Text], key: &str) -> Vec<(Recipient, Range<usize>)> {
        let mut keys: Vec<(Recipient, Range<usize>)> = Vec::new();
        for text in texts {
            match Recipient::parse(&text.value) {
                Ok(recipient) if keys.iter().any(|(known, _)| *known == recipient) => {
                    self.fault(&text.span, key, "this key is listed twice", Some("keep one of the two".into()));
                }
                Ok(recipient) => keys.push((recipient, text.span.clone())),
                Err(error) => self.fault(&text.span, key, error.message(), error.advice().map(str::to_owned)),
            }
        }
        keys
    }

    fn policy(&mut self, raw: RawPolicy) -> Policy {
        let mut policy = Policy::default();
        if raw.version.value != VERSION {
            let newer = raw.version.value > VERSION;
            let help = if newer { "use a newer sealift" } else { "the version is 1" };
            self.fault(&raw.version.span, "version", "this version is not known", Some(help.into()));
            return policy;
        }
        let mut held: BTreeMap<String, String> = BTreeMap::new();
        let mut hold = |reader: &mut Self,
                        keys: &[(Recipient, Range<usize>)],
                        key: &str,
                        holder: String,
                        retired: bool| {
            for (recipient, span) in keys {
                if let Some(other) = held.insert(recipient.canonical().to_owned(), holder.clone()) {
                    let (what, help) = if retired {
                        (
                            format!("this key is also the key of {other}"),
                            format!(
                                "{holder} was removed, and may still have it: give {other} another key; if the removal was a mistake, undo it in git"
                            ),
                        )
                    } else {
                        (
                            format!("this key is also the key of {other}"),
                            "each key has one holder: a shared key cannot be taken from one of them".into(),
                        )
                    };
                    reader.fault(span, key, what, Some(help));
                }
            }
        };
        for (name, texts) in raw.admins {
            let key = format!("admins.{}", shown(&name.value));
            let keys = self.keys(&texts, &key);
            if texts.is_empty() {
                self.fault(
                    &name.span,
                    &key,
                    "an admin without a key",
                    Some("add a recipient, or remove the admin".into()),
                );
            }
            hold(self, &keys, &key, format!("admin {}", shown(&name.value)), false);
            if let Some(name) = self.word::<AdminName>(&name, "admins") {
                policy.admins.insert(name, keys.into_iter().map(|(key, _)| key).collect());
            }
        }
        for (name, raw) in raw.hosts {
            let key = format!("hosts.{}", shown(&name.value));
            let keys = self.keys(&raw.keys.value, &format!("{key}.keys"));
            if raw.keys.value.is_empty() {
                self.fault(
                    &raw.keys.span,
                    &format!("{key}.keys"),
                    "a host without a key",
                    Some("add the line of its /etc/ssh/ssh_host_ed25519_key.pub".into()),
                );
            }
            hold(self, &keys, &format!("{key}.keys"), format!("host {}", shown(&name.value)), false);
            if let Some(host) = self.word::<HostName>(&name, "hosts") {
                let host_value = self.host(&host, raw, keys.into_iter().map(|(key, _)| key).collect());
                policy.hosts.insert(host, host_value);
            }
        }
        for (name, raw) in raw.retired {
            let key = format!("retired.{}", shown(&name.value));
            let keys = self.keys(&raw.keys, &key);
            hold(self, &keys, &key, format!("retired host {}", shown(&name.value)), true);
            // For people alone; but what is there is a day.
            let _since = raw.since.and_then(|since| self.day(&since, &format!("{key}.since")));
            if let Some(name) = self.word::<HostName>(&name, "retired") {
                policy.retired.insert(name, Retired { keys: keys.into_iter().map(|(key, _)| key).collect() });
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
                    Some("give one of them another `path`".into()),
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

    /// What `scan` lets stand: a known rule, a path inside the repository, a reason.
    fn allow(&mut self, raw: RawAllow) -> Option<Allow> {
        let before = self.faults.len();
        if scan::rules::named(&raw.rule.value).is_none() {
            let near = nearest(&raw.rule.value, scan::rules::names());
            let help = near.map_or_else(
                || "`sealift scan --rules` lists them".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            self.fault(&raw.rule.span, "scan.allow.rule", "no rule has this name", Some(help));
        }
        let path = &raw.path.value;
        if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let help = Some("a path from the top of the repository, such as `tests/*.nix`".to_owned());
            self.fault(&raw.path.span, "scan.allow.path", "not a path inside the repository", help);
        }
        if raw.reason.value.trim().is_empty() {
            self.fault(&raw.reason.span, "scan.allow.reason", "no reason is given", Some("say why it may stay".into()));
        }
        let line = self.lines.at(raw.rule.span.start);
        let allow = Allow { rule: raw.rule.value, path: raw.path.value, reason: raw.reason.value, line };
        (self.faults.len() == before).then_some(allow)
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
                    Some("an address is user@host, ssh://user@host:port or an alias from ssh_config".into()),
                );
                own()
            })
        });
        let tags = raw.tags.iter().filter_map(|tag| self.word::<Tag>(tag, &format!("{key}.tags"))).collect();
        Host { keys, ssh_keys, address, tags }
    }

    /// An SSH public key that a host must show; unlike recipients, any type.
    fn pin(&mut self, text: &Text, key: &str) -> Option<String> {
        let mut words = text.value.split(' ');
        let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // Anyone who can undo the key can pass for the host.
        if matches!(kind, "ssh-ed25519" | "ssh-rsa")
            && let Err(error) = Recipient::parse(&format!("{kind} {blob}"))
            && error.message().starts_with(OPEN)
        {
            self.fault(
                &text.span,
                key,
                "everybody can pass for a machine with this key",
                error.advice().map(str::to_owned),
            );
            return None;
        }
        let kinds = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
        let encoded = blob.len() >= 40 && blob.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        if private_key(&text.value).is_some() || !kinds.contains(&kind) || !encoded {
            self.fault(
                &text.span,
                key,
                "not an SSH public key",
                Some("copy the line of a .pub file in /etc/ssh".into()),
            );
            return None;
        }
        Some(format!("{kind} {blob}"))
    }

    fn selectors(&mut self, policy: &Policy, texts: &[Text], key: &str) -> (Vec<Selector>, BTreeSet<HostName>) {
        let mut selectors = Vec::new();
        let mut hosts = BTreeSet::new();
        for text in texts {
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
                    let help = match nearest(&text.value, words.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if words.is_empty() => "there are no hosts yet: add one with `sealift host add`".into(),
                        None => format!("known: {}", words.join(", ")),
                    };
                    self.fault(&text.span, key, format!("unknown host `{selector}`"), Some(help));
                }
            }
            selectors.push(selector);
        }
        (selectors, hosts)
    }

    fn secret(&mut self, policy: &Policy, name: &SecretName, at: &Text, raw: RawSecret) -> Secret {
        let key = format!("secrets.{name}");
        let of = |field: &str| format!("{key}.{field}");
        let (selectors, hosts) = self.selectors(policy, &raw.hosts, &of("hosts"));
        if raw.per_host && hosts.iter().any(|host| name.file_of(host).as_str().len() > 128) {
            self.fault(
                &at.span,
                &key,
                "its name with a host's is longer than 128 bytes",
                Some("give it a shorter name".into()),
            );
        }
        let root = || "root".parse::<UnixName>().unwrap_or_else(|_| unreachable!("root is a user name"));
        let mut unix =
            |text: Option<Text>, field: &str| text.and_then(|text| self.word(&text, &of(field))).unwrap_or_else(root);
        let (owner, group) = (unix(raw.owner, "owner"), unix(raw.group, "group"));
        if raw.needed_for_users && (owner.as_str(), group.as_str()) != ("root", "root") {
            self.fault(
                &at.span,
                &key,
                "it is delivered before users exist, so that only root can own it",
                Some("take `owner` and `group` away, or `needed_for_users`".into()),
            );
        }
        let mode = raw.mode.map_or(Some(Mode(0o400)), |text| {
            let mode = Mode::parse(&text.value);
            if mode.is_none() {
                self.fault(
                    &text.span,
                    &of("mode"),
                    "not a mode for a secret",
                    Some(
                        "four octal digits, readable by the owner, nothing for others: \"0400\", \"0440\", \"0600\""
                            .into(),
                    ),
                );
            }
            mode
        });
        let shape = raw.shape.and_then(|text| self.word::<Shape>(&text, &of("shape"))).unwrap_or(Shape::Raw);
        let tree = if raw.needed_for_users { DELIVERED_FOR_USERS } else { DELIVERED };
        let path = match raw.path {
            None => format!("{tree}/{name}"),
            Some(text) => {
                if let Some(what) = path_fault(&text.value, &format!("{tree}/{name}")) {
                    self.fault(&text.span, &of("path"), what, None);
                }
                text.value
            }
        };
        let mut units = |texts: &[Text], field: &str| {
            texts.iter().filter_map(|text| self.word::<UnitName>(text, &of(field))).collect()
        };
        let (restart, reload) = (units(&raw.restart, "restart"), units(&raw.reload, "reload"));
        let generate = raw.generate.and_then(|at| {
            let mut generate = at.value;
            if generate.size().is_some_and(|(_, size)| !SIZES.contains(size)) {
                self.fault(&at.span, &of("generate"), "the size is out of range", Some("8 to 1024".into()));
                return None;
            }
            Some(generate)
        });
        Secret {
            hosts,
            selectors,
            per_host: raw.per_host,
            delivery: Delivery {
                owner,
                group,
                mode: mode.unwrap_or(Mode(0o400)),
                path,
                restart,
                reload,
                needed_for_users: raw.needed_for_users,
            },
            shape,
            generate,
            rotate_every: raw.rotate_every.and_then(|text| self.days(&text, &of("rotate_every"))),
            expires: raw.expires.and_then(|text| self.day(&text, &of("expires"))),
            allow_unsealed: raw.allow_unsealed,
            description: raw.description,
            line: self.lines.at(at.span.start),
        }
    }

    /// No secret may lie in a folder that another's file or path takes.
    fn folders(&mut self, names: &[(SecretName, Range<usize>)], paths: &BTreeMap<String, String>) {
        let known: BTreeSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        for (inner, span) in names {
            let folders = inner.as_str().match_indices('/').filter_map(|(at, _)| inner.as_str().get(..at));
            if let Some(outer) = folders.into_iter().find(|folder| known.contains(folder)) {
                self.fault(
                    span,
                    &format!("secrets.{inner}"),
                    format!("its name lies in a folder of the secret {outer}"),
                    Some("rename one of them: `sealift mv`".into()),
                );
            }
        }
        for (outer, owner) in paths {
            let below = format!("{outer}/");
            for (_, inner) in paths.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below)) {
                if let Some((_, span)) = names.iter().find(|(name, _)| name.as_str() == inner) {
                    self.fault(
                        &span.clone(),
                        &format!("secrets.{inner}"),
                        format!("its path lies below the path of {owner}"),
                        None,
                    );
                }
            }
        }
    }

    fn deploy(&mut self, policy: &Policy, raw: RawDeploy) -> DeploySettings {
        let canary = raw.canary.and_then(|text| {
            let host = self.word::<HostName>(&text, "deploy.canary")?;
            if !policy.hosts.contains_key(&host) {
                self.fault(&text.span, "deploy.canary", "not a host of this fleet", None);
            }
            Some(host)
        });
        let jobs = raw.jobs.and_then(|jobs| {
            if !(1..=256).contains(&jobs.value) {
                self.fault(&jobs.span, "deploy.jobs", "out of range", Some("1 to 256".into()));
                return None;
            }
            Some(jobs.value)
        });
        let sign_key = raw.sign_key.and_then(|text| {
            let fits = text.value.starts_with('/') || text.value.starts_with("~/");
            if !fits {
                let help =
                    "name it by an absolute path, or one below `~/`: it must not lie in the repository".to_owned();
                self.fault(&text.span, "deploy.sign_key", "not an absolute path", Some(help));
            }
            fits.then(|| PathBuf::from(text.value))
        });
        let at_most = raw.at_most.into_iter().filter_map(|(word, count)| self.at_most(policy, &word, &count)).collect();
        DeploySettings { engine: raw.engine.unwrap_or_default(), jobs, canary, at_most, diff: raw.diff, sign_key }
    }

    /// Of how many hosts with a tag a deploy is at work at once.
    fn at_most(&mut self, policy: &Policy, word: &Text, count: &At<u32>) -> Option<(Tag, u32)> {
        let key = "deploy.at_most";
        let Some(name) = word.value.strip_prefix('@') else {
            self.fault(&word.span, key, "not a tag", Some("write it as \"@web\"".into()));
            return None;
        };
        let tag = self.word::<Tag>(&At { span: word.span.clone(), value: name.to_owned() }, key)?;
        if !policy.hosts.values().any(|host| host.tags.contains(&tag)) {
            let tags: BTreeSet<&str> = policy.hosts.values().flat_map(|host| &host.tags).map(Tag::as_str).collect();
            let near = nearest(tag.as_str(), tags);
            self.fault(&word.span, key, "no host has this tag", near.map(|near| format!("did you mean `@{near}`?")));
        }
        if !(1..=256).contains(&count.value) {
            self.fault(&count.span, key, "out of range", Some("1 to 256".into()));
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
