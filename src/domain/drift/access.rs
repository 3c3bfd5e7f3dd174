//! Who gains and who loses access when a file is encrypted to the readers in the policy, as far as that is known
//! without a key. Every command that re-encrypts a file lists them with this.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};

use crate::domain::policy::{Holder, Keys};
use crate::domain::secret::recipient::{Fingerprint, Recipient};
use crate::domain::secret::seal::{Envelope, Seal, Slot};

/// A holder who can read a file, or a key without a known holder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// A current or past holder in the policy.
    Known(Holder),
    /// Another key of a holder who reads the file with a different one, and how that key is shown.
    More(Holder, String),
    /// A key that a seal lists, without a known holder.
    Unknown(Fingerprint),
    /// The key of a stanza of this kind, in a file without a seal.
    Stanza(&'static str, Fingerprint),
}

impl Reader {
    pub fn of(key: &Fingerprint, holders: &BTreeMap<Fingerprint, Holder>) -> Self {
        holders.get(key).map_or(Self::Unknown(*key), |holder| Self::Known(holder.clone()))
    }

    /// The word that selects this reader on the command line.
    pub fn word(&self) -> String {
        match self {
            Reader::Known(holder) | Reader::More(holder, _) => holder.name().to_owned(),
            Reader::Unknown(key) | Reader::Stanza(_, key) => key.to_string(),
        }
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reader::Known(holder) => holder.fmt(f),
            Reader::More(holder, key) => write!(f, "one more key of {holder} ({key})"),
            Reader::Unknown(key) => write!(f, "an unknown key ({key})"),
            Reader::Stanza(kind, key) => write!(f, "an unknown {kind} key ({key})"),
        }
    }
}

impl Serialize for Reader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The readers in one line.
pub fn listed<'a>(readers: impl IntoIterator<Item = &'a Reader>) -> String {
    readers.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The readers for keys that change. A holder who also reads the file with another key is listed as `More`: with only
/// the name, it would look as if the holder gained or lost all access.
fn besides<'a>(
    reads: impl IntoIterator<Item = &'a Fingerprint>,
    changes: impl IntoIterator<Item = &'a Fingerprint>,
    keys: &Keys<'_>,
) -> BTreeSet<Reader> {
    let mut has: BTreeSet<&Holder> = reads.into_iter().filter_map(|key| keys.holders.get(key)).collect();
    let reader = |key: &Fingerprint| match (keys.holders.get(key), keys.known.get(key)) {
        (Some(holder), Some(recipient)) if !has.insert(holder) => Reader::More(holder.clone(), recipient.shown()),
        _ => Reader::of(key, &keys.holders),
    };
    changes.into_iter().map(reader).collect()
}

/// How the readers of a file change when it is encrypted to those of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Access {
    /// Cannot read it now, and will.
    pub gains: BTreeSet<Reader>,
    /// Will read it, and may be able to already: a file without a seal does not say.
    pub may_gain: BTreeSet<Reader>,
    /// Can read it now, and will no longer.
    pub loses: BTreeSet<Reader>,
    /// Keys without a known holder that can read a file without a seal.
    pub unknown: BTreeSet<Reader>,
}

impl Access {
    /// For a file with a seal.
    pub fn of_seal(seal: &Seal, should: &BTreeSet<Fingerprint>, keys: &Keys<'_>) -> Self {
        Self {
            gains: besides(seal.current.intersection(should), should.difference(&seal.current), keys),
            loses: besides(seal.current.intersection(should), seal.current.difference(should), keys),
            ..Self::default()
        }
    }

    /// For a file without a seal, from the tags and the number of its stanzas; also returns the keys that its new seal
    /// must list as past readers.
    pub fn of_stanzas(
        envelope: &Envelope,
        should: &BTreeMap<Fingerprint, &Recipient>,
        keys: &Keys<'_>,
    ) -> (Self, BTreeSet<Fingerprint>) {
        let mut access = Self::default();
        let mut past = BTreeSet::new();
        let reader = |key: &Fingerprint| Reader::of(key, &keys.holders);
        let fits = |slot: &Slot, key: &Recipient| key.kind().stanza() == slot.kind && key.ssh_tag() == slot.tag;
        let mut anonymous: BTreeMap<Option<&'static str>, Vec<Fingerprint>> = BTreeMap::new();
        for (slot, mark) in envelope.stanzas.iter().zip(&envelope.marks) {
            if slot.tag.is_none() {
                anonymous.entry(slot.kind).or_default().push(*mark);
                continue;
            }
            let whose: Vec<&Fingerprint> =
                keys.known.iter().filter(|(_, key)| fits(slot, key)).map(|(fingerprint, _)| fingerprint).collect();
            if whose.is_empty() {
                access.unknown.insert(Reader::Stanza(slot.kind.unwrap_or("plugin"), *mark));
                past.insert(*mark);
            }
            for key in &whose {
                match should.contains_key(*key) {
                    // Two keys have the same four bytes: either of them may be the reader.
                    true if whose.len() > 1 => drop(access.may_gain.insert(reader(key))),
                    true => {}
                    false => {
                        access.loses.insert(reader(key));
                        past.insert(**key);
                    }
                }
            }
        }
        let mut accounted: BTreeMap<Option<&'static str>, usize> = BTreeMap::new();
        let (mut reads, mut gains, mut may_gain) = (Vec::new(), Vec::new(), Vec::new());
        for (fingerprint, key) in should {
            let kind = key.kind().stanza();
            if key.ssh_tag().is_some() {
                let there = envelope.stanzas.iter().any(|slot| fits(slot, key));
                if there { &mut reads } else { &mut gains }.push(fingerprint);
            } else {
                *accounted.entry(kind).or_default() += 1;
                if anonymous.contains_key(&kind) { &mut may_gain } else { &mut gains }.push(fingerprint);
            }
        }
        access.may_gain.extend(besides(reads.iter().copied(), may_gain.iter().copied(), keys));
        access.gains.extend(besides(reads.into_iter().chain(may_gain), gains, keys));
        for (kind, marks) in anonymous {
            let whose = accounted.get(&kind).copied().unwrap_or_default();
            for mark in marks.into_iter().skip(whose) {
                access.unknown.insert(Reader::Stanza(kind.unwrap_or("plugin"), mark));
                past.insert(mark);
            }
        }
        (access, past)
    }

    pub fn is_none(&self) -> bool {
        self.gains.is_empty() && self.may_gain.is_empty() && self.loses.is_empty() && self.unknown.is_empty()
    }

    /// In words, to be printed with the names of the files.
    pub fn told(&self) -> String {
        let part = |readers: &BTreeSet<Reader>, one: &str, many: &str| {
            let verb = if readers.len() == 1 { one } else { many };
            (!readers.is_empty()).then(|| format!("{} {verb}", listed(readers)))
        };
        let parts = [
            part(&self.gains, "gains access", "gain access"),
            part(
                &self.may_gain,
                "has or gains access (the stanzas do not say)",
                "have or gain access (the stanzas do not say)",
            ),
            part(&self.loses, "loses access", "lose access"),
            part(
                &self.unknown,
                "has access and is listed as a past reader",
                "have access and are listed as past readers",
            ),
        ];
        if self.is_none() {
            return "nobody gains or loses access".to_owned();
        }
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// In short form: `+web -db`.
    pub fn signs(&self) -> String {
        let part = |sign: &'static str, readers: &BTreeSet<Reader>| {
            readers.iter().map(|reader| format!("{sign}{reader}")).collect::<Vec<_>>()
        };
        [part("+", &self.gains), part("?", &self.may_gain), part("-", &self.loses), part("-", &self.unknown)]
            .concat()
            .join(" ")
    }
}
