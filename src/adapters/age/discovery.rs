//! Where an admin's identity is searched, in order. Each place without a usable one is listed with the reason; nobody
//! is asked for a passphrase here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapters::age::identity::{Identities, Plugins, reason};
use crate::adapters::age::keyring;
use crate::adapters::fs::files;
use crate::adapters::prompt::Ask;
use crate::domain::secret::recipient::{Key, Recipient};
use crate::error::{Kind, Result};

/// The name of the identity among a service manager's credentials.
pub const CREDENTIAL: &str = "sealift-identity";
/// The file name of the identity in sealift's configuration directory.
pub const DEFAULT_FILE: &str = "identity.age";
/// The keyring's label in lists of places.
pub const KEYRING: &str = "the OS keyring";
/// The maximum number of files read in an SSH directory, and the maximum size of a public key, in bytes.
const SSH_FILES: usize = 512;
const SSH_PUBLIC: u64 = 64 << 10;

#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Files named for this run. If there are any, no other place is searched.
    pub named: Vec<PathBuf>,
    pub credential: Option<PathBuf>,
    /// The identity file in the configuration directory.
    pub default_file: Option<PathBuf>,
    /// Files named in the user's configuration.
    pub configured: Vec<PathBuf>,
    /// The user's SSH directory, searched for keys of the fleet's admins.
    pub ssh: Option<PathBuf>,
}

/// Searches all places in order. The keyring is queried only if no key of an admin of this fleet was found before: it
/// may ask the user to unlock it.
pub fn find(places: &Places, admins: &[Recipient], plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Identities> {
    let mut found = Identities::default();
    if let [file] = places.named.as_slice() {
        return Identities::from_file(file, plugins, ask);
    }
    let look = |found: &mut Identities, file: &PathBuf| match Identities::from_file(file, plugins, ask) {
        Ok(identities) => found.extend(identities),
        Err(error) => {
            let label = file.display().to_string();
            found.add_unusable(&label, reason(&label, &error));
        }
    };
    if !places.named.is_empty() {
        places.named.iter().for_each(|file| look(&mut found, file));
        return Ok(found);
    }
    places.credential.iter().for_each(|file| look(&mut found, file));
    let known = found.known();
    if !admins.iter().any(|admin| known.contains_key(&admin.fingerprint())) {
        match keyring::find(admins) {
            Ok(Some((_, content))) => match Identities::from_content(content, KEYRING, plugins, ask) {
                Ok(identities) => found.extend(identities),
                Err(error) => found.add_unusable(KEYRING, reason(KEYRING, &error)),
            },
            Ok(None) => found.add_unusable(KEYRING, "it holds no key of an admin of this fleet"),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => found.add_unusable(KEYRING, reason(KEYRING, &error)),
        }
    }
    places.default_file.iter().chain(&places.configured).for_each(|file| look(&mut found, file));
    let listed: Vec<_> = admins.iter().filter(|admin| matches!(admin.key(), Key::Ssh(_))).collect();
    if let Some(directory) = places.ssh.as_deref().filter(|_| !listed.is_empty()) {
        let known: BTreeSet<_> = found.known().into_keys().collect();
        let files = ssh_keys(
            directory,
            &listed.into_iter().filter(|key| !known.contains(&key.fingerprint())).collect::<Vec<_>>(),
        );
        if files.is_empty() && known.is_empty() {
            found.add_unusable(directory.display().to_string(), "it holds no SSH key that is listed as an admin's");
        }
        files.iter().for_each(|file| look(&mut found, file));
    }
    Ok(found)
}

/// The private keys in this directory whose public half, next to each, is in `listed`. Others are not opened, so that a
/// passphrase is only asked for keys that the fleet lists.
fn ssh_keys(directory: &Path, listed: &[&Recipient]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(SSH_FILES);
    let public = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "pub"));
    let is_listed = |path: &PathBuf| {
        // A home kept elsewhere may have symlinks to its public keys.
        let text = std::fs::canonicalize(path).ok().and_then(|real| files::read(&real, SSH_PUBLIC).ok());
        String::from_utf8_lossy(&text.unwrap_or_default())
            .lines()
            .filter_map(|line| Recipient::parse(line).ok())
            .any(|key| listed.contains(&&key))
    };
    let mut private: Vec<_> = public.filter(is_listed).map(|path| path.with_extension("")).collect();
    private.sort();
    private
}
