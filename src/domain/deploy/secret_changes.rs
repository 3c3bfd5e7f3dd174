//! How the secrets of two systems differ, as far as that is known without a key.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A secret or template of a system, as far as it is known without a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Carried {
    pub name: String,
    /// The serial of its value; `None` if the file has no seal.
    pub serial: Option<u64>,
    /// The SHA-256 of the sealed file, hexadecimal.
    pub digest: String,
    /// Owner, group, mode and path, as one string.
    pub delivery: String,
    /// Units that are restarted or reloaded when its bytes change.
    pub units: Vec<String>,
    /// Whether it is a template, made of other secrets, and not a secret of the policy.
    pub template: bool,
    /// Who can or could open this value according to its seal: key fingerprints in hexadecimal.
    pub known_to: BTreeSet<String>,
}

/// How a secret changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It gets another value.
    Changed,
    /// It gets an older value.
    Older,
    /// The same value, encrypted to other recipients.
    Resealed,
    /// The same file, with another owner, mode or path.
    Reowned,
    Removed,
}

/// A secret that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretChange {
    pub name: String,
    pub change: Change,
    /// The serial of the current value.
    pub from: Option<u64>,
    /// The serial of the new value.
    pub to: Option<u64>,
    /// Removed hosts that know the older of the two values.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub known_to: BTreeSet<String>,
}

impl SecretChange {
    /// The removed hosts that know the older value, as the end of a message.
    pub fn known(&self) -> String {
        let names: Vec<&str> = self.known_to.iter().map(String::as_str).collect();
        if names.is_empty() { String::new() } else { format!("; known to {}, removed since", names.join(", ")) }
    }
}

/// The changes between the secrets of two systems, by name. `removed`: the removed hosts, by fingerprints of their
/// keys.
pub fn secret_changes(before: &[Carried], after: &[Carried], removed: &BTreeMap<String, String>) -> Vec<SecretChange> {
    let know = |value: &Carried| value.known_to.iter().filter_map(|key| removed.get(key).cloned()).collect();
    let old: BTreeMap<_, _> = before.iter().map(|secret| (secret.name.as_str(), secret)).collect();
    let new: BTreeSet<_> = after.iter().map(|secret| secret.name.as_str()).collect();
    let mut changes: Vec<_> = after
        .iter()
        .filter_map(|secret| {
            let previous = old.get(secret.name.as_str());
            let change = |change, from| {
                let older = if change == Change::Older { Some(secret) } else { previous.copied() };
                let known_to = older.map(know).unwrap_or_default();
                Some(SecretChange { name: secret.name.clone(), change, from, to: secret.serial, known_to })
            };
            let Some(previous) = previous else { return change(Change::Added, None) };
            match (previous.digest == secret.digest, previous.serial, secret.serial) {
                (true, ..) if previous.delivery == secret.delivery => None,
                (true, from, _) => change(Change::Reowned, from),
                (false, Some(from), Some(to)) if from == to => change(Change::Resealed, Some(from)),
                (false, Some(from), Some(to)) if from > to => change(Change::Older, Some(from)),
                (false, from, _) => change(Change::Changed, from),
            }
        })
        .collect();
    let gone = before.iter().filter(|secret| !new.contains(secret.name.as_str()));
    changes.extend(gone.map(|secret| SecretChange {
        name: secret.name.clone(),
        change: Change::Removed,
        from: secret.serial,
        to: None,
        known_to: know(secret),
    }));
    changes.sort();
    changes
}

/// The units that are restarted or reloaded because the bytes of a secret may change.
pub fn secret_units(changes: &[SecretChange], after: &[Carried]) -> BTreeSet<String> {
    let new_bytes = |secret: &&Carried| {
        changes.iter().any(|change| {
            change.name == secret.name && matches!(change.change, Change::Added | Change::Changed | Change::Older)
        })
    };
    after.iter().filter(new_bytes).flat_map(|secret| secret.units.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(name: &str, serial: u64, digest: u8, delivery: &str) -> Carried {
        let units = vec![format!("{name}.service")];
        Carried {
            name: name.into(),
            serial: Some(serial),
            digest: digest.to_string(),
            delivery: delivery.into(),
            units,
            template: false,
            known_to: [format!("{digest}")].into(),
        }
    }

    #[test]
    fn every_kind_of_change_is_told_apart() {
        let before = [
            carried("same", 1, 1, ""),
            carried("new", 1, 1, ""),
            carried("old", 3, 1, ""),
            carried("key", 1, 1, ""),
            carried("own", 1, 1, ""),
            carried("gone", 2, 1, ""),
        ];
        let after = [
            carried("same", 1, 1, ""),
            carried("new", 2, 2, ""),
            carried("old", 2, 2, ""),
            carried("key", 1, 2, ""),
            carried("own", 1, 1, "x"),
            carried("more", 1, 1, ""),
        ];
        let removed = BTreeMap::from([("1".to_owned(), "gone".to_owned()), ("2".to_owned(), "lost".to_owned())]);
        let changes = secret_changes(&before, &after, &removed);
        let known = |name: &str| {
            let change = changes.iter().find(|change| change.name == name);
            change.and_then(|change| change.known_to.first()).map(String::as_str)
        };
        assert_eq!((known("new"), known("old")), (Some("gone"), Some("lost")), "it is the older value that is known");
        let told: Vec<_> =
            changes.iter().map(|change| (change.name.as_str(), change.change, change.from, change.to)).collect();
        assert_eq!(
            told,
            [
                ("gone", Change::Removed, Some(2), None),
                ("key", Change::Resealed, Some(1), Some(1)),
                ("more", Change::Added, None, Some(1)),
                ("new", Change::Changed, Some(1), Some(2)),
                ("old", Change::Older, Some(3), Some(2)),
                ("own", Change::Reowned, Some(1), Some(1)),
            ]
        );
        let units: Vec<_> = secret_units(&changes, &after).into_iter().collect();
        assert_eq!(units, ["more.service", "new.service", "old.service"]);
    }
}
