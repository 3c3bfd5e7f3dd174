//! Decrypts the fleet's own values to search for them. The search uses an index made for this run; the values are wiped
//! after it is made.

use zeroize::Zeroizing;

use crate::adapters::age;
use crate::adapters::age::identity::Identities;
use crate::adapters::fs::files;
use crate::adapters::process::parallel;
use crate::adapters::repository::Fleet;
use crate::commands::scan::scanner::NotRead;
use crate::domain::name::FileName;
use crate::domain::scan::index::Index;
use crate::domain::scan::variants::Gathered;
use crate::error::{Kind, Result};

/// What is known about the fleet's values.
#[derive(Default)]
pub struct Known {
    /// The index to search with. None if neither an identity nor the key of the fleet's index is available.
    pub values: Option<Index>,
    /// The names of the secrets, by number.
    pub names: Vec<String>,
    /// Secrets whose values are too short.
    pub too_short: Vec<String>,
    /// Secrets that are not searched for, and why.
    pub unopened: Vec<NotRead>,
    /// Whether no file could be opened with the available identities: they belong to another fleet.
    pub strange: bool,
}

/// Decrypts every sealed file of the fleet, to search for its value.
///
/// Fails if the fleet's files cannot be listed. Files that do not open are in the result.
pub fn known(fleet: &Fleet, identities: &Identities) -> Result<Known> {
    let files: Vec<FileName> = fleet.inventory()?.files.into_keys().collect();
    let (gathered, known) = gather(fleet, &files, identities);
    Ok(Known { values: Some(indexed(gathered)?), ..known })
}

/// Builds the index of these values with a random key.
pub fn indexed(gathered: Gathered) -> Result<Index> {
    let (mut mac, mut tags) = (Zeroizing::new([0; 64]), [0; 8]);
    files::random(&mut *mac)?;
    files::random(&mut tags)?;
    Ok(Index::new(gathered, mac, u64::from_le_bytes(tags)))
}

/// Decrypts these files. Returns the values to search for, and what else is known.
pub fn gather(fleet: &Fleet, files: &[FileName], identities: &Identities) -> (Gathered, Known) {
    let opened = parallel::map(files, |file| {
        let bytes = fleet.sealed(file)?.unwrap_or_default();
        age::open(&bytes, file, identities).map(|opened| opened.value)
    });
    let foreign = |one: &Result<_>| matches!(one, Err(error) if error.kind() == Kind::NoIdentity);
    let strange = !opened.is_empty() && opened.iter().all(foreign);
    let (mut gathered, mut known) = (Gathered::default(), Known { strange, ..Known::default() });
    for (file, value) in files.iter().zip(opened) {
        match value {
            Ok(value) => {
                let number = u32::try_from(known.names.len()).unwrap_or(u32::MAX);
                known.names.push(file.to_string());
                if !gathered.add(number, &value) {
                    known.too_short.push(file.to_string());
                }
            }
            Err(error) => {
                let why = format!("its value is not looked for: {}", error.in_one_line());
                known.unopened.push(NotRead { path: file.path(), why });
            }
        }
    }
    (gathered, known)
}
