//! The OS keyring (Secret Service, Keychain), the default place of an admin's identity. Entries are found by the
//! admin's recipient, which the policy lists, so that nobody has to remember a name. The kernel keyring is never used:
//! it is empty after a reboot.
//!
//! The keyring protects the key from anyone who has the disk, but not from programs of the same session.

use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::Recipient;
use crate::error::Result;

/// The service name of all entries.
#[cfg(feature = "os-keyring")]
const SERVICE: &str = "sealift";

/// The first of these recipients whose private key is in the keyring, with the content of its identity file; `None` if
/// there is none.
///
/// Fails if no keyring answers within 30 seconds, or if it refuses.
pub fn find(recipients: &[Recipient]) -> Result<Option<(Recipient, Plaintext)>> {
    let names: Vec<String> = recipients.iter().map(|key| key.canonical().to_owned()).collect();
    let found = entries::find(names)?;
    Ok(found.and_then(|(at, content)| Some((recipients.get(at)?.clone(), content))))
}

/// Stores an identity under its recipient and reads it back to verify it.
///
/// Fails if no keyring answers, or if it returns something else; the entry is removed then.
pub fn store(recipient: &Recipient, content: &Plaintext) -> Result<()> {
    let copy = content.expose(|bytes| Plaintext::concat(&[bytes]));
    entries::store(recipient.canonical().to_owned(), copy)
}

/// Removes the identity of this recipient. Returns whether there was one.
pub fn remove(recipient: &Recipient) -> Result<bool> {
    entries::remove(recipient.canonical().to_owned())
}

/// Checks that a keyring answers, before the user is asked for anything.
pub fn answers() -> Result<()> {
    entries::answers()
}

#[cfg(feature = "os-keyring")]
mod entries {
    use std::time::{Duration, Instant};

    use keyring::{Entry, Error as Fault};

    use crate::adapters::age::armor::plain;
    use crate::adapters::age::keyring::SERVICE;
    use crate::adapters::process::timeout;
    use crate::domain::secret::plaintext::Plaintext;
    use crate::error::{Error, Result};

    /// The time limit of the keyring, which may be asking the user to unlock it.
    const LIMIT: Duration = Duration::from_secs(30);

    pub fn find(names: Vec<String>) -> Result<Option<(usize, Plaintext)>> {
        asked(move || {
            for (at, name) in names.iter().enumerate() {
                match entry(name)?.get_secret() {
                    Ok(secret) => return Ok(Some((at, Plaintext::take(secret)))),
                    Err(Fault::NoEntry) => {}
                    Err(fault) => return Err(said(&fault)),
                }
            }
            Ok(None)
        })
    }

    pub fn store(name: String, content: Plaintext) -> Result<()> {
        asked(move || {
            let entry = entry(&name)?;
            content.expose(|bytes| entry.set_secret(bytes)).map_err(|fault| said(&fault))?;
            let proof = entry.get_secret().map(Plaintext::take);
            if proof.is_ok_and(|proof| proof.same_as(&content)) {
                return Ok(());
            }
            // An entry that cannot be read back is useless; failing to delete it changes nothing.
            let _gone = entry.delete_credential();
            Err(Error::failed("the OS keyring does not give back what was stored"))
        })
    }

    pub fn remove(name: String) -> Result<bool> {
        asked(move || match entry(&name)?.delete_credential() {
            Ok(()) => Ok(true),
            Err(Fault::NoEntry) => Ok(false),
            Err(fault) => Err(said(&fault)),
        })
    }

    pub fn answers() -> Result<()> {
        // No entry has this name, so a keyring that works answers that there is none.
        find(vec!["probe".to_owned()]).map(drop)
    }

    fn asked<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        timeout::call("the OS keyring", |since: Instant| since.elapsed() > LIMIT, work)?
    }

    fn entry(name: &str) -> Result<Entry> {
        Entry::new(SERVICE, name).map_err(|fault| match Entry::store_status() {
            Err(status) => said(status),
            Ok(()) => said(&fault),
        })
    }

    /// Uses only parts of the error without bytes of an entry: the Debug form of some of these errors contains the
    /// secret.
    fn said(fault: &Fault) -> Error {
        let (why, cause) = match fault {
            Fault::PlatformFailure(cause) => {
                ("it does not answer; it needs a desktop session, which a login over SSH does not have", Some(cause))
            }
            Fault::NoStorageAccess(cause) => ("it is locked, or refuses", Some(cause)),
            Fault::NoDefaultStore => ("there is none", None),
            Fault::BadEncoding(_) | Fault::BadDataFormat(..) => ("the entry is damaged", None),
            Fault::Ambiguous(_) => ("it holds two entries of this name", None),
            Fault::NoEntry => ("there is no such entry", None),
            _ => ("it cannot do this", None),
        };
        let error = Error::failed(format!("the OS keyring cannot be used: {why}"));
        match cause {
            Some(cause) => {
                let cause = plain(cause);
                error.because(cause.strip_prefix("zbus error: ").unwrap_or(&cause))
            }
            None => error,
        }
    }
}

#[cfg(not(feature = "os-keyring"))]
mod entries {
    use crate::domain::secret::plaintext::Plaintext;
    use crate::error::{Error, Result};

    pub fn find(_names: Vec<String>) -> Result<Option<(usize, Plaintext)>> {
        Err(absent())
    }

    pub fn store(_name: String, _content: Plaintext) -> Result<()> {
        Err(absent())
    }

    pub fn remove(_name: String) -> Result<bool> {
        Err(absent())
    }

    pub fn answers() -> Result<()> {
        Err(absent())
    }

    fn absent() -> Error {
        Error::failed("the OS keyring cannot be used: this build of sealift is without it, as hosts have it")
    }
}
