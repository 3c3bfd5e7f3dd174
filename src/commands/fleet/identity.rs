//! `identity`: an admin's own key. A new key is stored and read back before the policy names it; a failure removes it
//! again. A key is never only in the keyring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;
use serde::Serialize;

use crate::adapters::age::identity::Identities;
use crate::adapters::age::{discovery, identity_file, keyring};
use crate::adapters::fs::files;
use crate::adapters::prompt::Ask;
use crate::adapters::signals;
use crate::adapters::user_config::Listing;
use crate::commands::Session;
use crate::commands::fleet::new_key::{Made, Named, Stored, adopt, allowed, free, has_other, named, outside, write};
use crate::domain::address::quoted;
use crate::domain::name::AdminName;
use crate::domain::policy::Policy;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Kind, Result};

/// Where to store a new key.
pub enum Keep {
    /// In the OS keyring, with a backup file. Without a keyring, only in that file.
    Keyring {
        /// The requested backup file.
        backup: Option<PathBuf>,
        /// The default backup file, used if a backup is needed and none was requested.
        usual: Option<PathBuf>,
    },
    File {
        /// The file, which must not exist yet.
        path: PathBuf,
        /// Whether to write it without a passphrase.
        plain: bool,
    },
}

pub struct New {
    pub admin: AdminName,
    pub keep: Keep,
    /// Whether to add another key to an admin who has one.
    pub add: bool,
    /// The user's configuration, in which the file is listed.
    pub configuration: Configuration,
}

pub struct Configuration {
    /// The configuration file; none if the session has no home directory.
    pub file: Option<PathBuf>,
    /// The home directory for `~/` in it.
    pub home: Option<PathBuf>,
    /// The default identity file, which is found without being listed.
    pub usual: Option<PathBuf>,
}

/// A key that was found.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Its public half, if known.
    pub recipient: Option<String>,
    /// Whether it needs a passphrase that was not asked for.
    pub locked: bool,
    pub found_in: String,
    /// The admin of this fleet who has the key.
    pub admin: Option<AdminName>,
}

/// Where a new key goes.
struct Place {
    keyring: bool,
    file: Option<PathBuf>,
    passphrase: Option<SecretString>,
}

/// Creates a key and adds it to the policy.
pub fn new(session: &mut Session, request: &New) -> Result<Made> {
    allowed(&session.fleet.policy, &request.admin, request.add)?;
    let place = place(session, &request.keep)?;
    let (content, recipient) = identity_file::generate();
    let mut stored = Stored::default();
    let made = store(session, request, &content, &recipient, &place, &mut stored);
    let named = match made {
        Ok(named) => named,
        Err(error) => {
            stored.undo(session);
            return Err(error);
        }
    };
    let listed_in = match &place.file {
        Some(file) if !place.keyring => remember(session, &request.configuration, file),
        _ => None,
    };
    let file = place.file.map(|file| file.display().to_string());
    let (kept, backup) =
        if place.keyring { (discovery::KEYRING.to_owned(), file) } else { (file.unwrap_or_default(), None) };
    let files_to_rekey = adopt(session, named);
    let second_admin = has_other(&session.fleet.policy, std::slice::from_ref(&recipient));
    let recipient = recipient.canonical().to_owned();
    Ok(Made {
        admin: request.admin.clone(),
        recipient,
        kept,
        hardware: None,
        backup,
        listed_in,
        second_admin,
        files_to_rekey,
    })
}

/// Decides where a new key goes, and asks for the passphrase of its file.
fn place(session: &Session, keep: &Keep) -> Result<Place> {
    let (keyring, file, what) = match keep {
        Keep::File { path, plain: true } => {
            return Ok(Place { keyring: false, file: Some(free(path)?), passphrase: None });
        }
        Keep::File { path, plain: false } => (false, Some(free(path)?), ""),
        Keep::Keyring { backup, usual } => {
            let file = |option| match backup {
                Some(path) => outside(session, &free(path)?),
                None => outside(session, &usual_file(usual.as_deref(), option)?),
            };
            match keyring::answers() {
                Ok(()) if backup.is_none() && has_other(&session.fleet.policy, &[]) => (true, None, ""),
                Ok(()) => (true, Some(file("--backup")?), "the backup "),
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => {
                    let file = file("--file")?;
                    no_keyring(session, &error);
                    session.note(format!("the key goes into {} instead, encrypted with a passphrase", file.display()));
                    (false, Some(file), "")
                }
            }
        }
    };
    let passphrase = file.as_ref().map(|path| session.talk.new_passphrase(&format!("{what}{}", path.display())));
    Ok(Place { keyring, passphrase: passphrase.transpose()?, file })
}

/// Lists a file in the user's configuration, so that it is found. Returns the configuration's path, or none if that is
/// unnecessary or failed. A failure is only a warning: the key is stored.
fn remember(session: &Session, configuration: &Configuration, file: &Path) -> Option<String> {
    let same = |usual: &PathBuf| std::fs::canonicalize(usual).is_ok_and(|usual| usual == file);
    if configuration.usual.as_ref().is_some_and(same) {
        return None;
    }
    let listed = || {
        let path = configuration.file.as_ref().ok_or_else(|| Error::failed("HOME is not set"))?;
        path.parent().map_or(Ok(()), files::make_private_directory)?;
        if let Some(listing) = Listing::new(path, configuration.home.as_deref(), None, file)? {
            listing.write()?;
        }
        Ok(path)
    };
    let remembered: Result<&PathBuf> = listed();
    match remembered {
        Ok(path) => Some(path.display().to_string()),
        Err(error) => {
            session.warn(format!(
                "the key's place could not be remembered: {}; give it with `--identity {}`, or list it in the `identities` of your configuration",
                error.in_one_line(),
                quoted(&file.display().to_string())
            ));
            None
        }
    }
}

/// Stores the key first, and writes the policy last. From then on files may be sealed to the key, so it is no longer
/// removed on failure.
fn store(
    session: &mut Session,
    request: &New,
    content: &Plaintext,
    recipient: &Recipient,
    place: &Place,
    stored: &mut Stored,
) -> Result<Named> {
    let (git, journal) = session.lock()?;
    let named = named(session, &request.admin, recipient, request.add)?;
    if let Some(path) = &place.file {
        if path.starts_with(&git.top) {
            let excluded = git.exclude(path)?;
            session.warn(format!(
                "{} lies in the repository{}; better keep it elsewhere, and never build this fleet as a `path:` flake, which would copy it into the store",
                path.display(),
                if excluded { ": it was added to .git/info/exclude, so that git does not track it" } else { ", where git ignores it" },
            ));
        }
        identity_file::write(path, content, place.passphrase.as_ref())?;
        stored.file = Some(path.clone());
    }
    if place.keyring {
        keyring::store(recipient, content).map_err(without_keyring)?;
        stored.entry = Some(recipient.clone());
    }
    signals::check()?;
    write(session, &git, &journal, &named, recipient, stored)?;
    Ok(named)
}

/// Imports a key from a file into the keyring; the file stays as backup. Without a keyring the file remains the key's
/// only place, and is listed in the user's configuration.
pub fn import(
    session: &mut Session,
    path: &Path,
    admin: Option<&AdminName>,
    add: bool,
    configuration: &Configuration,
) -> Result<Made> {
    let ask: Arc<dyn Ask> = session.talk.clone();
    let (content, recipient) = identity_file::native(path, &ask)?;
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let second_admin = has_other(&session.fleet.policy, std::slice::from_ref(&recipient));
    let made = |session: &Session, admin: &AdminName, keyring: bool, files_to_rekey| {
        let file = path.display().to_string();
        let (kept, backup) = if keyring { (discovery::KEYRING.to_owned(), Some(file)) } else { (file, None) };
        let listed_in = if keyring { None } else { remember(session, configuration, &path) };
        let recipient = recipient.canonical().to_owned();
        let admin = admin.clone();
        Made { admin, recipient, kept, hardware: None, backup, listed_in, second_admin, files_to_rekey }
    };
    if let Some(holder) = holder(&session.fleet.policy, &recipient) {
        if admin.is_some_and(|admin| *admin != holder) {
            return Err(Error::usage(format!("this key is {holder}'s")));
        }
        let keyring = into_keyring(session, &recipient, &content)?;
        return Ok(made(session, &holder, keyring, 0));
    }
    let Some(admin) = admin else {
        return Err(Error::usage("no admin of this fleet has this key")
            .help("to make it one's, say whose it is: `--admin NAME`"));
    };
    allowed(&session.fleet.policy, admin, add)?;
    let (git, journal) = session.lock()?;
    let named = named(session, admin, &recipient, add)?;
    let keyring = into_keyring(session, &recipient, &content)?;
    let mut stored = Stored { entry: keyring.then(|| recipient.clone()), ..Stored::default() };
    if let Err(error) = write(session, &git, &journal, &named, &recipient, &mut stored) {
        stored.undo(session);
        return Err(error);
    }
    let files_to_rekey = adopt(session, named);
    Ok(made(session, admin, keyring, files_to_rekey))
}

/// Stores a key from a file in the keyring. Returns false if there is no keyring that accepts it.
fn into_keyring(session: &Session, recipient: &Recipient, content: &Plaintext) -> Result<bool> {
    match keyring::store(recipient, content) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        Err(error) => {
            no_keyring(session, &error);
            session.note("the key stays in its file alone");
            Ok(false)
        }
    }
}

/// Returns the keys that were found, with their admins. Asks for passphrases only with `unlock`.
pub fn show(identities: &Identities, policy: Option<&Policy>, unlock: bool) -> Result<Vec<Shown>> {
    let found = if unlock { identities.unlocked()? } else { identities.found() };
    let shown = |found_in: String, recipient: Option<Recipient>, locked: bool| Shown {
        admin: recipient.as_ref().and_then(|key| holder(policy?, key)),
        recipient: recipient.map(|key| key.canonical().to_owned()),
        locked,
        found_in,
    };
    let native = found.into_iter().map(|(place, key)| (key.is_none(), place, key));
    let of_plugins = identities.noted().map(|(place, key)| (false, place.clone(), key.clone()));
    Ok(native.chain(of_plugins).map(|(locked, place, key)| shown(place, key, locked)).collect())
}

/// Removes the keys of all admins, or of one, from the keyring. Returns the removed keys.
///
/// Fails if there is no such admin, if nobody could open a secret afterwards, or if the user declines. `backup` says
/// that `--identity` was given, whose keys count as a backup.
pub fn forget(session: &Session, admin: Option<&AdminName>, backup: bool, yes: bool) -> Result<Vec<Recipient>> {
    let policy = &session.fleet.policy;
    if let Some(unknown) = admin.filter(|name| !policy.admins.contains_key(*name)) {
        return Err(policy.no_admin(unknown));
    }
    let admins = policy.admins.iter().filter(|(name, _)| admin.is_none_or(|admin| admin == *name));
    let mut held = Vec::new();
    for key in admins.flat_map(|(_, keys)| keys) {
        let found = keyring::find(std::slice::from_ref(key)).map_err(|error| {
            error.help(
                "without a keyring a key lies in a file, which you remove yourself: `sealift identity show` names it",
            )
        })?;
        if found.is_some() {
            held.push(key.clone());
        }
    }
    if held.is_empty() {
        return Ok(held);
    }
    let other = if backup { session.identities()?.unlocked()? } else { Vec::new() };
    let kept = held.iter().all(|key| other.iter().any(|(_, known)| known.as_ref() == Some(key)));
    if !kept && !has_other(policy, &held) {
        return Err(Error::failed(
            "it is the only key of the fleet that is known: without it nobody could rekey or edit",
        )
        .help("prove that you have its backup, with `--identity FILE`; or add another admin first"));
    }
    let list = held.iter().map(Recipient::canonical).collect::<Vec<_>>().join(", ");
    if !yes && !session.talk.confirm(&format!("Remove {list} from the keyring?"))? {
        return Err(Error::failed("declined; nothing changed").help("`--yes` does it without asking"));
    }
    held.iter().try_for_each(|key| keyring::remove(key).map(drop))?;
    Ok(held)
}

/// Returns the admin who has the key.
fn holder(policy: &Policy, key: &Recipient) -> Option<AdminName> {
    policy.admins.iter().find(|(_, keys)| keys.contains(key)).map(|(name, _)| name.clone())
}

/// Returns the default file of a key, after creating its folder.
fn usual_file(usual: Option<&Path>, option: &str) -> Result<PathBuf> {
    let path = usual.ok_or_else(|| {
        Error::usage("there is no place for the key's file: HOME is not set")
            .help(format!("name the file: `{option} FILE`"))
    })?;
    if let Some(directory) = path.parent() {
        files::make_private_directory(directory)?;
    }
    free(path).map_err(|error| {
        error.help(format!(
            "that is another identity, perhaps of another fleet: name a file for this one, `{option} FILE`"
        ))
    })
}

/// Says why the keyring is not used, which is no error. Text of other programs is printed behind a bar.
fn no_keyring(session: &Session, error: &Error) {
    session.note(error.message());
    if let Some(cause) = std::error::Error::source(error) {
        session.note(format!("  | {cause}"));
    }
}

fn without_keyring(error: Error) -> Error {
    if error.kind() == Kind::Interrupted {
        return error;
    }
    error.help("keep the key in a file instead, sealed to a passphrase: `--file FILE`")
}
