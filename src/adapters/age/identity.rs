//! Identities: the private keys that open files, loaded once. A key behind a passphrase stays locked until no other key
//! opens a file; then the passphrase is asked for once for all files. Identities that cannot be used are remembered
//! with the reason.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use age::DecryptError;
use age::ssh::UnsupportedKey;
use age_core::format::{FileKey, Stanza};

use crate::adapters::age::armor::dearmored;
use crate::adapters::age::identity_file::{WRONG, opened_with_passphrase, private_file, unlocked, unusable};
pub use crate::adapters::age::plugin::Plugins;
use crate::adapters::prompt::Ask;
use crate::domain::address::quoted;
use crate::domain::counted::counted;
use crate::domain::foreign::{cut, one_line};
use crate::domain::guarded::guarded;
use crate::domain::name::FileName;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::plugin_identity;
use crate::domain::secret::recipient::{Fingerprint, Recipient, private_key};
use crate::domain::secret::seal::{Envelope, Seal};
use crate::error::{Error, Kind, Result};

pub struct Identity {
    /// Where it comes from, for display.
    pub label: String,
    pub key: Box<dyn age::Identity + Send + Sync>,
    /// Its public half, if known.
    pub recipient: Option<Recipient>,
}

/// The private keys found.
#[derive(Default)]
pub struct Identities {
    usable: Vec<Identity>,
    /// Those that ask the user when they are used; tried after all others.
    asking: Vec<Identity>,
    vaults: Vec<Vault>,
    /// The sources of plugin keys, each with the recipient in the comment before it, which is unverified.
    noted: Vec<(String, Option<Recipient>)>,
    unusable: Vec<(String, String)>,
}

/// Keys behind a passphrase. Unlocked once, on first use by any file or thread.
#[derive(Clone)]
struct Vault(Arc<Locked>);

struct Locked {
    label: String,
    unlock: Box<dyn Fn() -> Result<Identities> + Send + Sync>,
    unlocked: OnceLock<Result<Identities>>,
}

impl Vault {
    fn new(label: &str, unlock: impl Fn() -> Result<Identities> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Locked { label: label.to_owned(), unlock: Box::new(unlock), unlocked: OnceLock::new() }))
    }

    fn open(&self) -> Result<&Identities, &Error> {
        self.0.unlocked.get_or_init(|| (self.0.unlock)()).as_ref()
    }
}

impl age::Identity for Vault {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        match self.open() {
            Ok(identities) => identities.iter().find_map(|identity| identity.key.unwrap_stanzas(stanzas)),
            Err(error) => Some(Err(DecryptError::Io(std::io::Error::other(reason(&self.0.label, error))))),
        }
    }
}

impl Identities {
    /// The usable ones, then those that ask the user.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.usable.iter().chain(&self.asking)
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Every public half and its source; `None` for locked keys.
    pub fn found(&self) -> Vec<(String, Option<Recipient>)> {
        let locked = |identity: &Identity| {
            identity.recipient.is_some() || self.vaults.iter().any(|vault| vault.0.label == identity.label)
        };
        self.iter()
            .filter(|identity| locked(identity))
            .map(|identity| (identity.label.clone(), identity.recipient.clone()))
            .collect()
    }

    /// Like `found`, after unlocking what is locked, which asks the user.
    pub fn unlocked(&self) -> Result<Vec<(String, Option<Recipient>)>> {
        let mut found: Vec<_> = self.found().into_iter().filter(|(_, recipient)| recipient.is_some()).collect();
        for vault in &self.vaults {
            let opened = vault
                .open()
                .map_err(|error| Error::new(error.kind(), error.message()).help(error.advice().unwrap_or_default()))?;
            found.extend(opened.found().into_iter().filter(|new| !found.contains(new)).collect::<Vec<_>>());
        }
        Ok(found)
    }

    /// Every source of a plugin key with the recipient that its file names. For display only: it is unverified.
    pub fn noted(&self) -> impl Iterator<Item = &(String, Option<Recipient>)> {
        let unlocked = self.vaults.iter().filter_map(|vault| vault.0.unlocked.get()?.as_ref().ok());
        self.noted.iter().chain(unlocked.flat_map(|opened| &opened.noted))
    }

    pub fn add(&mut self, identity: Identity) {
        self.usable.push(identity);
    }

    fn add_asking(&mut self, identity: Identity) {
        self.asking.push(identity);
    }

    fn add_vault(&mut self, vault: Vault, recipient: Option<Recipient>) {
        self.add_asking(Identity { label: vault.0.label.clone(), key: Box::new(vault.clone()), recipient });
        self.vaults.push(vault);
    }

    pub fn add_unusable(&mut self, label: impl Into<String>, reason: impl Into<String>) {
        self.unusable.push((label.into(), reason.into()));
    }

    /// Adds the result of another search.
    pub fn extend(&mut self, other: Identities) {
        self.usable.extend(other.usable);
        self.asking.extend(other.asking);
        self.vaults.extend(other.vaults);
        self.noted.extend(other.noted);
        self.unusable.extend(other.unusable);
    }

    pub fn known(&self) -> BTreeMap<Fingerprint, &Recipient> {
        self.iter().filter_map(|identity| identity.recipient.as_ref()).map(|key| (key.fingerprint(), key)).collect()
    }

    /// The error when an identity is needed and none is usable.
    pub fn none_at_hand(&self) -> Error {
        let error = Error::new(Kind::NoIdentity, "no usable identity");
        let error = if self.unusable.is_empty() { error } else { error.because(listed(&self.unusable)) };
        error.help("give one with `--identity FILE`; if you have none: `sealift identity new --admin NAME`, then another admin runs `sealift rekey`")
    }

    /// The error for a file that none of them opens.
    pub fn none_opens(&self, file: &FileName, seal: Option<&Seal>, failures: &[(String, String)]) -> Error {
        let tried = self.iter().map(|identity| identity.label.as_str()).collect::<Vec<_>>().join(", ");
        let what = if tried.is_empty() {
            "no identity was found".to_owned()
        } else {
            format!("none of these identities opens it: {tried}")
        };
        let reasons: Vec<_> = failures.iter().chain(&self.unusable).cloned().collect();
        let error = Error::new(Kind::NoIdentity, format!("{}: {what}", file.path()));
        let error = if reasons.is_empty() { error } else { error.because(listed(&reasons)) };
        let readers = seal.map_or(0, |seal| seal.current.len());
        error.help(match readers {
            0 => "give an identity that it is sealed to with `--identity FILE`".to_owned(),
            count => format!(
                "it is sealed to {} (`sealift who {file}` names whose): give one with `--identity FILE`; if yours is new, somebody who has one of them runs `sealift rekey` first",
                counted(count, "key")
            ),
        })
    }

    /// Loads every key of an identity file: native keys, plugin keys, an SSH private key, or any of these encrypted
    /// with a passphrase, which is asked for when no other key opens a file.
    ///
    /// Fails with `NoIdentity` and the reason if nothing in it is usable, or if others can read the file.
    pub fn from_file(path: &Path, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Self> {
        let label = path.display().to_string();
        if private_key(&label).is_some() {
            return Err(Error::new(
                Kind::NoIdentity,
                "an identity is named by its file, and this looks like the key itself",
            )
            .help("treat it as leaked: it is in the shell's history; make a new one"));
        }
        let content = private_file(path)?;
        Self::from_content(content, &label, plugins, ask)
    }

    /// Like `from_file`, from its content.
    pub fn from_content(content: Plaintext, label: &str, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Self> {
        let binary =
            content.expose(dearmored).map_err(|_| unusable(label, "its armor is damaged"))?.map(Plaintext::take);
        let file = binary.unwrap_or(content);
        if !file.expose(|bytes| bytes.starts_with(b"age-encryption.org/")) {
            return Self::parsed(&file, label, plugins, ask);
        }
        let envelope = file.expose(Envelope::read).map_err(|_| unusable(label, "it is damaged"))?;
        if !envelope.passphrase {
            return Err(unusable(label, "it is sealed to keys, not to a passphrase"));
        }
        let (name, plugins, ask) = (label.to_owned(), plugins.clone(), ask.clone());
        let vault = Vault::new(label, move || {
            let opened = unlocked(&name, &ask, |passphrase| {
                file.expose(|bytes| opened_with_passphrase(bytes, &name, passphrase))
            })?;
            Self::parsed(&opened, &name, &plugins, &ask)
        });
        let mut identities = Self::default();
        identities.add_vault(vault, None);
        Ok(identities)
    }

    fn parsed(content: &Plaintext, label: &str, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Self> {
        let mut identities = Self::default();
        if content.expose(|bytes| bytes.starts_with(b"-----BEGIN")) {
            content.expose(|bytes| identities.add_ssh_key(bytes, label, ask))?;
            return Ok(identities);
        }
        content.expose(|bytes| -> Result<()> {
            let text = std::str::from_utf8(bytes).map_err(|_| unusable(label, "it is not text"))?;
            let mut remark = None;
            for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
                if line.starts_with('#') {
                    remark = plugin_identity::noted(line).or(remark);
                } else if let Ok(key) = line.parse::<age::x25519::Identity>() {
                    let recipient = Some(Recipient::of_x25519(&key));
                    identities.add(Identity { label: label.to_owned(), key: Box::new(key), recipient });
                } else if line.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-PQ-") {
                    identities.add_unusable(label, "post-quantum identities are not supported by this version");
                } else if let Ok(key) = line.parse::<age::plugin::Identity>() {
                    match plugins.identity(&key, ask) {
                        Ok(plugin) => {
                            let label = format!("{label} (age-plugin-{})", key.plugin());
                            identities.noted.push((label.clone(), remark.take()));
                            identities.add_asking(Identity { label, key: plugin, recipient: None });
                        }
                        Err(error) => identities.add_unusable(label, reason(label, &error)),
                    }
                } else {
                    return Err(unusable(label, &format!("line {} is not an identity", number + 1)));
                }
            }
            Ok(())
        })?;
        match (identities.is_empty(), identities.unusable.first()) {
            (true, Some((_, reason))) => Err(unusable(label, reason)),
            (true, None) => Err(unusable(label, "there is no identity in it")),
            (false, _) => Ok(identities),
        }
    }

    fn add_ssh_key(&mut self, bytes: &[u8], label: &str, ask: &Arc<dyn Ask>) -> Result<()> {
        let key = guarded(|| age::ssh::Identity::from_buffer(bytes, None).ok())
            .flatten()
            .ok_or_else(|| unusable(label, "it is not an SSH private key that can open files (ed25519 or rsa)"))?;
        let recipient = Recipient::of_ssh(&key);
        match key {
            age::ssh::Identity::Encrypted(locked) => {
                // Unlocked here, once: age would ask and run bcrypt again for every stanza of every file. The public
                // half is not encrypted, so the passphrase is not asked for when the seal does not list it.
                let (name, ask, public) = (label.to_owned(), ask.clone(), recipient.clone());
                let vault = Vault::new(label, move || {
                    let key = unlocked(&name, &ask, |passphrase| {
                        guarded(|| locked.decrypt(passphrase).ok()).flatten().ok_or_else(|| unusable(&name, WRONG))
                    })?;
                    let mut identities = Self::default();
                    let key = Box::new(age::ssh::Identity::Unencrypted(key));
                    identities.add(Identity { label: name.clone(), key, recipient: public.clone() });
                    Ok(identities)
                });
                self.add_vault(vault, recipient);
            }
            age::ssh::Identity::Unsupported(UnsupportedKey::EncryptedSsh(cipher)) => {
                let cipher = cut(&one_line(&cipher), 40);
                return Err(unusable(
                    label,
                    &format!("its passphrase protects it with {cipher}, which is not read here"),
                )
                .help(format!("encrypt it with another cipher: `ssh-keygen -p -Z aes256-ctr -f {}`", quoted(label))));
            }
            age::ssh::Identity::Unsupported(UnsupportedKey::EncryptedPem) => {
                return Err(unusable(label, "it is in the old PEM form, and behind a passphrase")
                    .help(format!("convert it to the current format: `ssh-keygen -p -f {}`", quoted(label))));
            }
            age::ssh::Identity::Unsupported(_) => {
                return Err(unusable(label, "this type of SSH key cannot open files: it only signs"));
            }
            key @ age::ssh::Identity::Unencrypted(_) => {
                self.add(Identity { label: label.to_owned(), key: Box::new(key), recipient });
            }
        }
        Ok(())
    }
}

/// An error as a reason in a list that already names the place.
pub fn reason(label: &str, error: &Error) -> String {
    let message = error.message();
    let short =
        [format!("the identity {label} cannot be used: "), format!("{label} cannot be used: "), format!("{label} ")];
    let what = short.iter().find_map(|prefix| message.strip_prefix(prefix.as_str())).unwrap_or(message);
    match (error.advice(), std::error::Error::source(error)) {
        (Some(help), _) => format!("{what} ({help})"),
        (None, Some(cause)) => format!("{what}: {cause}"),
        (None, None) => what.to_owned(),
    }
}

fn listed(reasons: &[(String, String)]) -> String {
    reasons.iter().map(|(label, reason)| format!("{label}: {reason}")).collect::<Vec<_>>().join("\n")
}
