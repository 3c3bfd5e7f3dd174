//! Adds an admin's new key to the fleet, wherever it is stored. Removes what was stored unless the policy names the
//! key.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::adapters::age::keyring;
use crate::adapters::fs::files;
use crate::adapters::fs::transaction::Journal;
use crate::adapters::git::Git;
use crate::adapters::user_config::Listing;
use crate::commands::{Changes, Session};
use crate::domain::foreign::holds;
use crate::domain::name::AdminName;
use crate::domain::policy::edit::Edit;
use crate::domain::policy::{FILE, Policy, parse};
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Result};

/// A key that was created or imported.
#[derive(Debug, Serialize)]
pub struct Made {
    pub admin: AdminName,
    pub recipient: String,
    pub kept: String,
    /// The hardware that holds the key, if any. Its file then only refers to it.
    pub hardware: Option<&'static str>,
    /// The backup of the key, if any.
    pub backup: Option<String>,
    /// The user's configuration, if the file was listed there.
    pub listed_in: Option<String>,
    /// Whether the fleet has another admin key.
    pub second_admin: bool,
    /// How many sealed files the key does not open yet.
    pub files_to_rekey: usize,
}

/// What was stored so far, so that it can be removed again.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) file: Option<PathBuf>,
    pub(super) entry: Option<Recipient>,
    pub(super) listing: Option<Listing>,
}

impl Stored {
    fn is_empty(&self) -> bool {
        self.file.is_none() && self.entry.is_none() && self.listing.is_none()
    }

    pub(super) fn undo(self, session: &Session) {
        if let Some(listing) = self.listing
            && let Err(error) = listing.undo()
        {
            session.warn(format!("your configuration still lists the new key: {error}"));
        }
        if let Some(path) = self.file
            && let Err(error) = files::remove(&path)
        {
            session.warn(format!("the new key's file is left behind, and is of no use: {error}"));
        }
        if let Some(recipient) = self.entry
            && let Err(error) = keyring::remove(&recipient)
        {
            session.warn(format!("the new key is left in the keyring, and is of no use: {error}"));
        }
    }
}

/// Writes the policy. Once the policy may name the key, what was stored is kept.
pub(super) fn write(
    session: &Session,
    git: &Git,
    journal: &Journal,
    named: &Named,
    recipient: &Recipient,
    stored: &mut Stored,
) -> Result<()> {
    let done = session.commit(git, journal, &named.changes);
    if done.is_ok() || may_be_named(session, recipient) {
        *stored = Stored::default();
    }
    done.map_err(|error| {
        if !stored.is_empty() {
            return error;
        }
        error.help(format!("{FILE} may name the new key, which is kept for that: look at it, then run `sealift check`"))
    })
}

/// Whether the policy on disk names the key, or cannot be read. A failed write may have replaced the file already, for
/// example if only syncing it failed.
fn may_be_named(session: &Session, recipient: &Recipient) -> bool {
    let name = recipient.canonical().as_bytes();
    files::read(&session.fleet.root.join(FILE), parse::LIMIT).map_or(true, |text| holds(&text, name))
}

/// Whether the policy has an admin key other than these.
pub(super) fn has_other(policy: &Policy, without: &[Recipient]) -> bool {
    policy.admins.values().flatten().any(|key| !without.contains(key))
}

pub(super) fn allowed(policy: &Policy, admin: &AdminName, add: bool) -> Result<()> {
    if add || !policy.admins.contains_key(admin) {
        return Ok(());
    }
    Err(Error::usage(format!("{admin} has a key already; nothing changed"))
        .help(format!("`--add` gives one more; `sealift admin rm {admin} --key KEY` then takes the old one away")))
}

/// The policy with the new key.
pub(super) struct Named {
    changes: Changes,
    text: String,
    policy: Policy,
}

pub(super) fn named(session: &Session, admin: &AdminName, key: &Recipient, add: bool) -> Result<Named> {
    // Checked again, because the policy may have changed while the user was asked.
    allowed(&session.fleet.policy, admin, add)?;
    let mut edit = Edit::new(&session.fleet.text)?;
    edit.add_admin(admin, key)?;
    let text = edit.text();
    let policy = parse::parse_edited(&text)?;
    let mut changes = Changes::default();
    changes.write(FILE, Some(session.fleet.text.as_bytes()), text.clone().into_bytes());
    Ok(Named { changes, text, policy })
}

/// Updates the session to the written policy. Returns how many sealed files a new admin cannot open yet. A failure to
/// count them is only a warning, because the key exists.
pub(super) fn adopt(session: &mut Session, named: Named) -> usize {
    session.fleet.policy = named.policy;
    session.fleet.text = named.text;
    match session.fleet.inventory() {
        Ok(inventory) => inventory.files.len(),
        Err(error) => {
            session
                .warn(format!("cannot find out which sealed files the key does not open yet: {}", error.in_one_line()));
            0
        }
    }
}

/// Returns the path for a new file. Its directory must exist, and the file must not.
pub(super) fn free(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::usage(format!("{} is not a file's path", path.display())))?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = std::fs::canonicalize(directory)
        .map_err(|error| Error::usage(format!("there is no directory {}", directory.display())).because(error))?;
    let path = real.join(name);
    if path.symlink_metadata().is_ok() {
        return Err(Error::failed(format!("{} is there already, and is not overwritten", path.display())));
    }
    Ok(path)
}

/// Fails if a backup would be inside the repository, and so be copied with it.
pub(super) fn outside(session: &Session, path: &Path) -> Result<PathBuf> {
    let top = session.fleet.git()?.top;
    if path.starts_with(&top) || path.starts_with(&session.fleet.root) {
        return Err(Error::usage(format!("{} lies in the repository; a backup is kept outside", path.display())));
    }
    Ok(path.to_owned())
}
