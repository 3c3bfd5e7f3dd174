//! Private key files: refused if others can read them; written with or without a passphrase, and verified by reading
//! back.

use std::path::Path;
use std::sync::Arc;

use age::DecryptError;
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::age::armor::{dearmored, plain};
use crate::adapters::fs::files;
use crate::adapters::prompt::Ask;
use crate::domain::guarded::guarded;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::Recipient;
use crate::domain::secret::seal::Envelope;
use crate::error::{Error, Kind, Result};

const LIMIT: usize = 1 << 20;
/// The maximum scrypt work factor (log2) accepted when opening: about 3 seconds.
const WORK_FACTOR: u8 = 20;
/// The scrypt work factor (log2) of new identity files, as in age: about a second and 256 MiB.
const SEALED_WITH: u8 = 18;

/// The reason given for a wrong passphrase.
pub(super) const WRONG: &str = "the passphrase is wrong";

/// Asks for a passphrase until it is right, as many times as `ask` allows.
pub(super) fn unlocked<T>(label: &str, ask: &Arc<dyn Ask>, open: impl Fn(SecretString) -> Result<T>) -> Result<T> {
    let mut left = ask.attempts();
    loop {
        left = left.saturating_sub(1);
        match open(ask.passphrase(label)?) {
            Err(error) if left > 0 && error.message().ends_with(WRONG) => {
                ask.tell("That passphrase is wrong; try again.");
            }
            outcome => return outcome,
        }
    }
}

pub(super) fn private_file(path: &Path) -> Result<Plaintext> {
    use std::os::unix::fs::PermissionsExt;
    let label = path.display().to_string();
    // The path may be a symlink (a home kept elsewhere); its target is checked.
    let real = std::fs::canonicalize(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unusable(&label, "there is no such file"),
        _ => unusable(&label, "it cannot be read").because(error),
    })?;
    let (file, size) = files::open(&real, LIMIT as u64).map_err(|error| error.of_kind(Kind::NoIdentity))?;
    let mode =
        file.metadata().map_err(|error| Error::io(format!("cannot look at {label}"), error))?.permissions().mode();
    if real.extension().is_some_and(|ending| ending == "pub") {
        return Err(unusable(&label, "it is a public key").help("name the private key beside it, without `.pub`"));
    }
    if mode & 0o077 != 0 {
        return Err(Error::new(
            Kind::NoIdentity,
            format!("{label} can be read by others (mode {:04o})", mode & 0o7777),
        )
        .help(format!("chmod 600 {label}; and if others had access to this machine, make a new key")));
    }
    let expected = usize::try_from(size).unwrap_or(LIMIT);
    Plaintext::read(file, expected, LIMIT).map_err(|error| Error::io(format!("cannot read {label}"), error))
}

pub(super) fn opened_with_passphrase(bytes: &[u8], label: &str, passphrase: SecretString) -> Result<Plaintext> {
    guarded(|| try_passphrase(bytes, label, passphrase)).unwrap_or_else(|| Err(unusable(label, "it is damaged")))
}

fn try_passphrase(bytes: &[u8], label: &str, passphrase: SecretString) -> Result<Plaintext> {
    let decryptor = age::Decryptor::new_buffered(bytes).map_err(|_| unusable(label, "it is damaged"))?;
    let mut identity = age::scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(WORK_FACTOR);
    let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(|error| match error {
        DecryptError::ExcessiveWork { .. } => {
            unusable(label, "its passphrase takes more work than is tried (scrypt factor above 20)")
        }
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => unusable(label, WRONG),
        other => unusable(label, &plain(&other)),
    })?;
    Plaintext::read(reader, bytes.len(), LIMIT).map_err(|_| unusable(label, "it is damaged"))
}

/// Creates an identity file, sealed to a passphrase if there is one, and reads it back to verify it.
///
/// Fails if the path exists, or if the file does not read back as written; it is removed then.
pub fn write(path: &Path, content: &Plaintext, passphrase: Option<&SecretString>) -> Result<()> {
    let mode = 0o600;
    let sealed = passphrase.map(|passphrase| sealed_with_passphrase(content, passphrase.clone())).transpose()?;
    match &sealed {
        Some(bytes) => files::create(path, bytes, mode)?,
        None => content.expose(|bytes| files::create(path, bytes, mode))?,
    }
    let proof = private_file(path).and_then(|file| match passphrase {
        Some(passphrase) => {
            file.expose(|bytes| opened_with_passphrase(bytes, &path.display().to_string(), passphrase.clone()))
        }
        None => Ok(file),
    });
    match proof {
        Ok(proof) if proof.same_as(content) => Ok(()),
        _ => {
            files::remove(path)?;
            Err(Error::failed(format!("{} does not read back as it was written; it was removed", path.display())))
        }
    }
}

fn sealed_with_passphrase(content: &Plaintext, passphrase: SecretString) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut recipient = age::scrypt::Recipient::new(passphrase);
    recipient.set_work_factor(SEALED_WITH);
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient));
    let encryptor = encryptor.map_err(|error| Error::failed("cannot seal the identity").because(plain(&error)))?;
    let mut file = Vec::with_capacity(content.len() + 512);
    let written = encryptor.wrap_output(&mut file).and_then(|mut writer| {
        content.expose(|bytes| writer.write_all(bytes))?;
        writer.finish().map(drop)
    });
    written.map_err(|error| Error::io("cannot seal the identity", error))?;
    Ok(file)
}

/// The only native age key of an identity file, in the form that `generate` returns. Asks for the passphrase if there
/// is one.
pub fn native(path: &Path, ask: &Arc<dyn Ask>) -> Result<(Plaintext, Recipient)> {
    let label = path.display().to_string();
    let file = private_file(path)?;
    let file =
        file.expose(dearmored).map_err(|_| unusable(&label, "its armor is damaged"))?.map_or(file, Plaintext::take);
    let content = if file.expose(|bytes| Envelope::read(bytes).is_ok_and(|envelope| envelope.passphrase)) {
        unlocked(&label, ask, |passphrase| file.expose(|bytes| opened_with_passphrase(bytes, &label, passphrase)))?
    } else {
        file
    };
    content.expose(|bytes| {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        match (lines.next().and_then(|line| line.parse::<age::x25519::Identity>().ok()), lines.next()) {
            (Some(key), None) => Ok(native_content(&key)),
            _ => Err(Error::usage(format!("{label} does not hold exactly one age key (AGE-SECRET-KEY-1…)")).help(
                "an SSH key or a plugin's stays in its file: name that in the `identities` of your configuration",
            )),
        }
    })
}

/// A new X25519 identity: the content of its file, with the recipient as a comment, and the recipient.
pub fn generate() -> (Plaintext, Recipient) {
    native_content(&age::x25519::Identity::generate())
}

fn native_content(key: &age::x25519::Identity) -> (Plaintext, Recipient) {
    let recipient = Recipient::of_x25519(key);
    let secret = key.to_string();
    let content = Plaintext::concat(&[
        b"# public key: ",
        recipient.canonical().as_bytes(),
        b"\n",
        secret.expose_secret().as_bytes(),
        b"\n",
    ]);
    (content, recipient)
}

pub(super) fn unusable(label: &str, reason: &str) -> Error {
    Error::new(Kind::NoIdentity, format!("the identity {label} cannot be used: {reason}"))
}
