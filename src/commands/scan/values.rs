//! The fleet's own values, opened to be looked for. What is looked for is their index, made for this run; they themselves
//! are wiped once it is there.

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

/// What of the fleet's values is known.
#[derive(Default)]
pub struct Known {
    /// What is looked for; none where neither an identity nor the key of the index is at hand.
    pub values: Option<Index>,
    /// The names of the secrets, by their numbers.
    pub names: Vec<String>,
    /// Those that are too short.
    pub too_short: Vec<String>,
    /// Those that are not looked for, and why.
    pub unopened: Vec<NotRead>,
    /// Whether no file was for the identities that were at hand: they are of another fleet.
    pub strange: bool,
}

/// Opens every sealed file of the fleet, to look for its value.
///
/// Fails when the fleet's files cannot be listed; one that does not open is in the result.
pub fn known(fleet: &Fleet, identities: &Identities) -> Result<Known> {
    let files: Vec<FileName> = fleet.inventory()?.files.into_keys().collect();
    let (gathered, known) = gather(fleet, &files, identities);
    Ok(Known { values: Some(indexed(gathered)?), ..known })
}

/// The index of these texts, under a key that nothing else has.
pub fn indexed(gathered: Gathered) -> Result<Index> {
    let (mut mac, mut tags) = (Zeroizing::new([0; 64]), [0; 8]);
    files::random(&mut *mac)?;
    files::random(&mut tags)?;
    Ok(Index::new(gathered, mac, u64::from_le_bytes(tags)))
}

/// Opens these files. The texts to look for, and what is known besides.
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
