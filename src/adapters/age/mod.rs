//! Seals and opens. The cryptography is the age library's; this adds the seal stanza, limits that make hostile files
//! cheap to reject, and the order in which keys are tried.

pub mod armor;
pub mod discovery;
pub mod generate;
pub mod hardware;
pub mod identity;
pub mod identity_file;
pub mod keyring;
pub mod plugin;
pub mod ssh_ed25519;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use age_core::format::{FileKey, Stanza};

use crate::adapters::age::armor::{dearmored, plain};
use crate::adapters::age::identity::{Identities, Plugins};
use crate::adapters::age::ssh_ed25519::SshEd25519;
use crate::adapters::prompt::Ask;
use crate::adapters::signals;
use crate::domain::guarded::guarded;
use crate::domain::name::FileName;
use crate::domain::secret::age_header::{self, Mac};
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::{Fingerprint, Key, Recipient};
use crate::domain::secret::seal::{Envelope, STANZA, Seal};
use crate::error::{Error, Kind, Result};

type Wrapper = Box<dyn age::Recipient + Send + Sync>;

/// Seals values to a fixed set of recipients, each prepared once.
pub struct Sealer {
    wrappers: BTreeMap<Fingerprint, Wrapper>,
}

impl Sealer {
    /// Prepares these recipients. A plugin's recipient requires that the user allows the plugin.
    pub fn new<'a>(
        recipients: impl IntoIterator<Item = &'a Recipient>,
        plugins: &Plugins,
        ask: &std::sync::Arc<dyn Ask>,
    ) -> Result<Self> {
        let mut wrappers: BTreeMap<Fingerprint, Wrapper> = BTreeMap::new();
        for recipient in recipients {
            if wrappers.contains_key(&recipient.fingerprint()) {
                continue;
            }
            let wrapper: Wrapper = match recipient.key() {
                Key::X25519(key) => Box::new(key.clone()),
                Key::Ssh(key) => match (key, recipient.ssh_tag()) {
                    (age::ssh::Recipient::SshEd25519(wire, point), Some(tag)) => {
                        Box::new(SshEd25519::new(wire, tag, point.to_montgomery().to_bytes()))
                    }
                    (key, _) => Box::new(key.clone()),
                },
                Key::Tag(key) => Box::new((**key).clone()),
                Key::TagPq(key) => Box::new((**key).clone()),
                Key::Plugin(key) => plugins.recipient(key, ask)?,
            };
            wrappers.insert(recipient.fingerprint(), wrapper);
        }
        Ok(Self { wrappers })
    }

    /// Seals a value to the seal's current readers, with a fresh file key.
    pub fn seal(&self, value: &Plaintext, seal: &Seal) -> Result<Vec<u8>> {
        let sealing = Sealing { wrappers: &self.wrappers, seal };
        let encryptor = guarded(|| Encryptor::with_recipients(std::iter::once(&sealing as &dyn age::Recipient)))
            .ok_or_else(|| Error::usage(format!("{} cannot be sealed to one of its readers' keys", seal.name)))?
            .map_err(|error| refused(&error).about(&seal.name))?;
        let mut file = Vec::with_capacity(value.len() + 512 + 128 * seal.current.len());
        let written = encryptor.wrap_output(&mut file).and_then(|mut writer| {
            value.expose(|bytes| writer.write_all(bytes))?;
            writer.finish().map(drop)
        });
        written.map_err(|error| Error::io(format!("cannot seal {}", seal.name), error))?;
        // Check that the result can be read back: exceeding a limit, or a plugin that did not return exactly one
        // stanza, would lose the value.
        let refused = |what: String| {
            Error::usage(format!("{} cannot be sealed: {what}", seal.name))
                .help("nothing was changed; look at its readers")
        };
        let envelope = Envelope::read(&file).map_err(|fault| refused(fault.to_string()))?;
        if let Some(what) = envelope.contradiction(&BTreeMap::new()) {
            return Err(refused(what));
        }
        // A rekey holds all files in memory until the last is sealed.
        file.shrink_to_fit();
        Ok(file)
    }
}

/// All recipients of a file as one: the seal stanza first, then the recipients in the seal's order, so that a reader
/// can find its stanza.
struct Sealing<'a> {
    wrappers: &'a BTreeMap<Fingerprint, Wrapper>,
    seal: &'a Seal,
}

impl age::Recipient for Sealing<'_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut stanzas = vec![Stanza { tag: STANZA.to_owned(), args: self.seal.arguments(), body: self.seal.body() }];
        let mut common: Option<HashSet<String>> = None;
        for fingerprint in &self.seal.current {
            let wrapper = self.wrappers.get(fingerprint).ok_or(EncryptError::MissingRecipients)?;
            let (mut wrapped, labels) = wrapper.wrap_file_key(file_key)?;
            // The seal counts on one stanza per recipient. All must have the same labels: age refuses mixed sets, and
            // sees only this one recipient.
            match &common {
                Some(l_labels) if *l_labels != labels => {
                    return Err(EncryptError::IncompatibleRecipients { l_labels: l_labels.clone(), r_labels: labels });
                }
                _ => common = Some(labels),
            }
            stanzas.append(&mut wrapped);
        }
        Ok((stanzas, common.ok_or(EncryptError::MissingRecipients)?))
    }
}

pub struct Opened {
    pub value: Plaintext,
    /// Its seal, authenticated by the file's MAC; `None` for a file of another tool.
    pub seal: Option<Seal>,
    /// Identifies this version of the file.
    pub mac: Mac,
}

/// Opens a sealed file completely in memory. `file` is the name that it must have been sealed under.
///
/// Fails with `Integrity` if the file is damaged, swapped or violates the rules of sealing; with `NoIdentity` if no
/// identity opens it.
pub fn open(bytes: &[u8], file: &FileName, identities: &Identities) -> Result<Opened> {
    let binary = dearmored(bytes).map_err(|error| error.about(file.path()).help(age_header::restore(file)))?;
    let bytes = binary.as_deref().unwrap_or(bytes);
    let envelope = Envelope::read(bytes)
        .map_err(|fault| Error::integrity(format!("{}: {fault}", file.path())).help(fault.advice(file)))?;
    if envelope.passphrase {
        return Err(Error::integrity(format!("{}: it is sealed to a passphrase, not to keys", file.path()))
            .help(age_header::seal_to_keys(file)));
    }
    if let Some(seal) = &envelope.seal {
        if seal.name != *file {
            return Err(Error::integrity(format!("{}: its seal says that it is {}", file.path(), seal.name))
                .help(age_header::rename(file)));
        }
        if let Some(what) = envelope.contradiction(&identities.known()) {
            return Err(Error::integrity(format!("{}: {what}", file.path())).help(age_header::restore(file)));
        }
    }
    let opening =
        Opening { identities, seal: envelope.seal.as_ref(), failures: RefCell::default(), broken: Cell::new(false) };
    // A panic of the library is reported as a damaged file.
    let fails = || undone(file, DecryptError::InvalidHeader);
    let decrypt = || Decryptor::new_buffered(bytes)?.decrypt(std::iter::once(&opening as &dyn age::Identity));
    let reader = match guarded(decrypt).ok_or_else(fails)? {
        Ok(reader) => reader,
        Err(DecryptError::NoMatchingKeys) => {
            // Ctrl-C at a passphrase prompt is not a wrong passphrase.
            signals::check()?;
            if opening.broken.get() {
                return Err(Error::integrity(format!(
                    "{}: the part that is sealed to your key is damaged",
                    file.path()
                ))
                .help(age_header::restore(file)));
            }
            if envelope.hybrid {
                return Err(Error::new(
                    Kind::NoIdentity,
                    format!(
                        "{}: it is sealed to post-quantum keys (age1pq1…), which this version does not open",
                        file.path()
                    ),
                )
                .help(format!(
                    "`age` 1.3 opens it: `age -d -i KEYFILE {} | sealift seal {file} --replace --stdin`",
                    file.path()
                )));
            }
            return Err(identities.none_opens(file, envelope.seal.as_ref(), &opening.failures.borrow()));
        }
        Err(error) => return Err(undone(file, error)),
    };
    // The payload is shorter than the file, so the buffer is never reallocated.
    let read = guarded(|| Plaintext::read(reader, bytes.len(), bytes.len())).ok_or_else(fails)?;
    let value = read.map_err(|error| {
        Error::integrity(format!("{}: its content is damaged or cut short", file.path()))
            .because(error)
            .help(age_header::restore(file))
    })?;
    Ok(Opened { value, seal: envelope.seal, mac: envelope.mac })
}

/// All identities as one, tried in an order that finds the right stanza at once if the seal shows it.
struct Opening<'a> {
    identities: &'a Identities,
    seal: Option<&'a Seal>,
    failures: RefCell<Vec<(String, String)>>,
    /// Whether a key listed in the seal was tried and its stanza did not open.
    broken: Cell<bool>,
}

impl age::Identity for Opening<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let slots: Vec<&Stanza> =
            stanzas.iter().filter(|stanza| stanza.tag != STANZA && !stanza.tag.ends_with("-grease")).collect();
        for identity in self.identities.iter() {
            // The seal says which stanza is whose. This only saves work: the key decides what opens, and a false seal
            // only makes the file fail to open.
            let outcome = match (self.seal, &identity.recipient) {
                (Some(seal), Some(recipient)) => {
                    let Some(place) = seal.current.iter().position(|key| *key == recipient.fingerprint()) else {
                        continue;
                    };
                    match slots.get(place).map(|stanza| identity.key.unwrap_stanza(stanza)) {
                        Some(Some(Ok(file_key))) => return Some(Ok(file_key)),
                        _ => identity.key.unwrap_stanzas(stanzas),
                    }
                }
                _ => identity.key.unwrap_stanzas(stanzas),
            };
            let listed = self.seal.is_some() && identity.recipient.is_some();
            if listed && matches!(outcome, None | Some(Err(DecryptError::DecryptionFailed))) {
                self.broken.set(true);
            }
            match outcome {
                Some(Ok(file_key)) => return Some(Ok(file_key)),
                // A key that fails must not end the search: the next one may open the file.
                Some(Err(error)) => self.failures.borrow_mut().push((identity.label.clone(), plain(&error))),
                None => {}
            }
        }
        None
    }
}

/// The envelope of a file, armored or not, readable without a key; `None` if it is not a sealed file.
pub fn envelope_of(content: &[u8]) -> Option<Envelope> {
    match dearmored(content).ok()? {
        Some(binary) => Envelope::read(&binary).ok(),
        None => Envelope::read(content).ok(),
    }
}

/// The seal of a file, armored or not; `None` if it has none or is not a sealed file.
pub fn seal_of(content: &[u8]) -> Option<Seal> {
    envelope_of(content)?.seal
}

fn undone(file: &FileName, error: DecryptError) -> Error {
    let what = match error {
        DecryptError::InvalidMac => "its header was tampered with or damaged".to_owned(),
        DecryptError::DecryptionFailed => "it is damaged".to_owned(),
        other => plain(&other),
    };
    Error::integrity(format!("{}: {what}", file.path())).help(age_header::restore(file))
}

fn refused(error: &EncryptError) -> Error {
    match error {
        EncryptError::IncompatibleRecipients { .. } => {
            Error::usage("post-quantum keys cannot stand in one file with others")
                .help("give every reader of this secret a post-quantum key, or none")
        }
        EncryptError::Plugin(errors) => {
            let said = errors.iter().map(plain).collect::<Vec<_>>().join("; ");
            Error::failed("a plugin could not seal it").because(said)
        }
        other => Error::failed("it cannot be sealed").because(plain(other)),
    }
}
