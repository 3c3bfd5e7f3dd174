//! Identities: the private keys that open files. Loaded once, asked for at most one passphrase each, and every one that
//! could not be used is remembered with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::age::{dearmored, missing_plugin, plain};
use super::ask::Ask;
use super::files;
use crate::error::{Error, Kind, Result};
use crate::fleet::name::FileName;
use crate::fleet::plaintext::Plaintext;
use crate::fleet::recipient::{Fingerprint, Recipient};
use crate::fleet::seal::Seal;

/// The largest identity file that is read, in bytes.
const LIMIT: usize = 1 << 20;
/// The highest scrypt work factor (log2) that a passphrase is tried with: about 3 seconds.
pub const WORK_FACTOR: u8 = 20;

/// A private key, ready to open.
pub struct Identity {
    /// Where it comes from, for people.
    pub label: String,
    /// The key.
    pub key: Box<dyn age::Identity + Send + Sync>,
    /// Its public half, where that can be told.
    pub recipient: Option<Recipient>,
}

/// The private keys at hand.
#[derive(Default)]
pub struct Identities {
    usable: Vec<Identity>,
    unusable: Vec<(String, String)>,
}

/// The plugins that the user allows to run. A line in a repository must never start a program.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    /// The names, as in `age-plugin-NAME`.
    pub allowed: BTreeSet<String>,
    /// Where the list is kept, for the hint.
    pub listed_in: String,
}

impl Plugins {
    /// Refuses a plugin that is not on the user's list, before anything is looked up.
    ///
    /// # Errors
    /// Names the plugin and the file to list it in.
    pub fn allow(&self, name: &str) -> Result<()> {
        if self.allowed.contains(name) {
            return Ok(());
        }
        let shown = if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b)) { name } else { "…" };
        Err(Error::usage(format!("the plugin age-plugin-{shown} is not allowed to run"))
            .hint(format!("if you trust it, add `plugins = [\"{shown}\"]` to {}", self.listed_in)))
    }
}

/// A person, for the plugin protocol.
#[derive(Clone)]
pub struct PluginTalk(pub Arc<dyn Ask>);

impl age::Callbacks for PluginTalk {
    fn display_message(&self, message: &str) {
        self.0.tell(message);
    }
    fn confirm(&self, message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        self.0.confirm(message).ok()
    }
    fn request_public_string(&self, _description: &str) -> Option<String> {
        None
    }
    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.0.passphrase(description).ok()
    }
}

impl Identities {
    /// The usable ones.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.usable.iter()
    }

    /// Whether none is usable.
    pub fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }

    /// Adds one.
    pub fn add(&mut self, identity: Identity) {
        self.usable.push(identity);
    }

    /// Remembers one that could not be used.
    pub fn add_unusable(&mut self, label: impl Into<String>, reason: impl Into<String>) {
        self.unusable.push((label.into(), reason.into()));
    }

    /// Adds what another search found.
    pub fn extend(&mut self, other: Identities) {
        self.usable.extend(other.usable);
        self.unusable.extend(other.unusable);
    }

    /// The public halves that are known.
    pub fn known(&self) -> BTreeMap<Fingerprint, &Recipient> {
        self.usable.iter().filter_map(|identity| identity.recipient.as_ref()).map(|key| (key.fingerprint(), key)).collect()
    }

    /// The failure of a verb that needs an identity where none is usable.
    pub fn none_at_hand(&self) -> Error {
        let error = Error::new(Kind::NoIdentity, "no usable identity");
        let error = if self.unusable.is_empty() { error } else { error.because(listed(&self.unusable)) };
        error.hint("give one with `--identity FILE`, or make one with `sealift identity new --admin NAME`")
    }

    /// The failure of a file that none of them opens.
    pub fn none_opens(&self, file: &FileName, seal: Option<&Seal>, failures: &[(String, String)]) -> Error {
        let tried = self.usable.iter().map(|identity| identity.label.as_str()).collect::<Vec<_>>().join(", ");
        let what = if tried.is_empty() { "no identity is at hand".to_owned() } else { format!("none of these identities opens it: {tried}") };
        let reasons: Vec<_> = failures.iter().chain(&self.unusable).cloned().collect();
        let error = Error::new(Kind::NoIdentity, format!("{}: {what}", file.path()));
        let error = if reasons.is_empty() { error } else { error.because(listed(&reasons)) };
        let readers = seal.map_or(0, |seal| seal.current.len());
        error.hint(match readers {
            0 => "give an identity that it is sealed to with `--identity FILE`".to_owned(),
            count => format!("it is sealed to {count} keys (`sealift who {file}` names them): give one with `--identity FILE`"),
        })
    }

    /// Loads every key of an identity file: native keys, plugin keys, an SSH private key, or any of these encrypted with
    /// a passphrase, which is asked for once.
    ///
    /// # Errors
    /// `NoIdentity` when nothing in it is usable, with the reason; a file that others can read is refused.
    pub fn from_file(path: &Path, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Self> {
        let label = path.display().to_string();
        let content = private_file(path)?;
        Self::from_content(&content, &label, plugins, ask)
    }

    /// The same from bytes that are already at hand.
    ///
    /// # Errors
    /// As `from_file`.
    pub fn from_content(content: &Plaintext, label: &str, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Self> {
        let binary = content.expose(dearmored).map_err(|_| unusable(label, "its armor is damaged"))?;
        let sealed = content.expose(|bytes| bytes.starts_with(b"age-encryption.org/"));
        if sealed || binary.is_some() {
            let opened = match &binary {
                Some(bytes) => opened_with_passphrase(bytes, label, ask)?,
                None => content.expose(|bytes| opened_with_passphrase(bytes, label, ask))?,
            };
            return Self::parsed(&opened, label, plugins, ask);
        }
        Self::parsed(content, label, plugins, ask)
    }

    fn parsed(content: &Plaintext, label: &str, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Self> {
        let mut identities = Self::default();
        if content.expose(|bytes| bytes.starts_with(b"-----BEGIN")) {
            identities.add(content.expose(|bytes| ssh_key(bytes, label, ask))?);
            return Ok(identities);
        }
        content.expose(|bytes| -> Result<()> {
            let text = std::str::from_utf8(bytes).map_err(|_| unusable(label, "it is not text"))?;
            for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
                if let Ok(key) = line.parse::<age::x25519::Identity>() {
                    let recipient = Some(Recipient::of_x25519(&key));
                    identities.add(Identity { label: label.to_owned(), key: Box::new(key), recipient });
                } else if let Ok(key) = line.parse::<age::plugin::Identity>() {
                    match plugins.allow(key.plugin()).and_then(|()| plugin_key(&key, ask)) {
                        Ok(plugin) => identities.add(Identity { label: format!("{label} (age-plugin-{})", key.plugin()), key: plugin, recipient: None }),
                        Err(error) => identities.add_unusable(label, error.message()),
                    }
                } else if line.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-PQ-") {
                    identities.add_unusable(label, "post-quantum identities are not supported by this version");
                } else {
                    return Err(unusable(label, &format!("line {} is not an identity", number + 1)));
                }
            }
            Ok(())
        })?;
        match (identities.usable.is_empty(), identities.unusable.first()) {
            (true, Some((_, reason))) => Err(unusable(label, reason)),
            (true, None) => Err(unusable(label, "there is no identity in it")),
            (false, _) => Ok(identities),
        }
    }
}

/// Reads a private key's file.
///
/// # Errors
/// When it is not a regular file, or when others than its owner can read it.
fn private_file(path: &Path) -> Result<Plaintext> {
    use std::os::unix::fs::PermissionsExt;
    let label = path.display().to_string();
    // A key's path may be a link (a home kept elsewhere); what it leads to is checked.
    let real = std::fs::canonicalize(path).map_err(|error| Error::new(Kind::NoIdentity, format!("cannot read the identity {label}")).because(error))?;
    let (file, size) = files::open(&real, LIMIT as u64).map_err(|error| error.of_kind(Kind::NoIdentity))?;
    let mode = file.metadata().map_err(|error| Error::io(format!("cannot look at {label}"), error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::new(Kind::NoIdentity, format!("{label} can be read by others (mode {:04o})", mode & 0o7777))
            .hint(format!("chmod 600 {label}; and if others had access to this machine, make a new key")));
    }
    let expected = usize::try_from(size).unwrap_or(LIMIT);
    Plaintext::read(file, expected, LIMIT).map_err(|error| Error::io(format!("cannot read {label}"), error))
}

fn ssh_key(bytes: &[u8], label: &str, ask: &Arc<dyn Ask>) -> Result<Identity> {
    let key = age::ssh::Identity::from_buffer(bytes, None).map_err(|_| unusable(label, "it is not an SSH private key that can open files (ed25519 or rsa)"))?;
    let recipient = Recipient::of_ssh(&key);
    let key = match key {
        age::ssh::Identity::Encrypted(locked) => {
            // Unlocked here, once: age itself would ask and run bcrypt again for every stanza of every file.
            let passphrase = ask.passphrase(label)?;
            let key = locked.decrypt(passphrase).map_err(|_| unusable(label, "the passphrase is wrong"))?;
            age::ssh::Identity::Unencrypted(key)
        }
        age::ssh::Identity::Unsupported(_) => return Err(unusable(label, "this type of SSH key cannot open files: it only signs")),
        key => key,
    };
    Ok(Identity { label: label.to_owned(), key: Box::new(key), recipient })
}

fn plugin_key(key: &age::plugin::Identity, ask: &Arc<dyn Ask>) -> Result<Box<dyn age::Identity + Send + Sync>> {
    let plugin = age::plugin::IdentityPluginV1::new(key.plugin(), std::slice::from_ref(key), PluginTalk(ask.clone()));
    plugin.map(|plugin| Box::new(plugin) as _).map_err(|_| missing_plugin(key.plugin()))
}

fn opened_with_passphrase(bytes: &[u8], label: &str, ask: &Arc<dyn Ask>) -> Result<Plaintext> {
    let decryptor = age::Decryptor::new_buffered(bytes).map_err(|_| unusable(label, "it is damaged"))?;
    if !decryptor.is_scrypt() {
        return Err(unusable(label, "it is sealed to keys, not to a passphrase"));
    }
    let mut identity = age::scrypt::Identity::new(ask.passphrase(label)?);
    identity.set_max_work_factor(WORK_FACTOR);
    let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(|error| match error {
        age::DecryptError::ExcessiveWork { .. } => unusable(label, "its passphrase takes more work than is tried (scrypt factor above 20)"),
        age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => unusable(label, "the passphrase is wrong"),
        other => unusable(label, &plain(&other)),
    })?;
    Plaintext::read(reader, bytes.len(), LIMIT).map_err(|_| unusable(label, "it is damaged"))
}

/// A new identity file's content, sealed to a passphrase.
///
/// # Errors
/// When age cannot write it.
pub fn sealed_with_passphrase(content: &Plaintext, passphrase: SecretString) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut file = Vec::with_capacity(content.len() + 512);
    let written = age::Encryptor::with_user_passphrase(passphrase).wrap_output(&mut file).and_then(|mut writer| {
        content.expose(|bytes| writer.write_all(bytes))?;
        writer.finish().map(drop)
    });
    written.map_err(|error| Error::io("cannot seal the identity", error))?;
    Ok(file)
}

/// A new X25519 identity: its file's content, with its recipient as a comment, and the recipient.
pub fn generate() -> (Plaintext, Recipient) {
    let key = age::x25519::Identity::generate();
    let recipient = Recipient::of_x25519(&key);
    let secret = key.to_string();
    let content = Plaintext::concat(&[b"# public key: ", recipient.canonical().as_bytes(), b"\n", secret.expose_secret().as_bytes(), b"\n"]);
    (content, recipient)
}

fn unusable(label: &str, reason: &str) -> Error {
    Error::new(Kind::NoIdentity, format!("the identity {label} cannot be used: {reason}"))
}

fn listed(reasons: &[(String, String)]) -> String {
    reasons.iter().map(|(label, reason)| format!("{label}: {reason}")).collect::<Vec<_>>().join("\n")
}
