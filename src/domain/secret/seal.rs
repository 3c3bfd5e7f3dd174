//! The seal: one extra stanza in a file's age header that states what the file is and who can read it, covered by age's
//! own header MAC and ignored by stock `age` and `rage`.
//!
//! ```text
//! -> sealift 1 NAME SERIAL DATE CURRENT FORMER
//! base64(8-byte fingerprints: CURRENT sorted ones, then FORMER sorted ones)
//! ```
//!
//! It is read here without any key, which proves nothing, since anyone can write such bytes. Decrypting the file does,
//! because the MAC covers the stanza.

use std::collections::{BTreeMap, BTreeSet};

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
use jiff::civil::Date;

use crate::domain::name::FileName;
use crate::domain::secret::age_header::{Fault, Header, Mac};
use crate::domain::secret::recipient::{Fingerprint, Recipient};

/// The type of the stanza.
pub const STANZA: &str = "sealift";
/// The version of its format that this program writes and reads.
pub const VERSION: &str = "1";

/// Every serial is below this number, which any JSON parser can represent and which is far from an overflow.
const SERIAL_LIMIT: u64 = 1 << 53;

/// What a sealed file states about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The file's path under `secrets/` without `.age`.
    pub name: FileName,
    /// The number of values that this secret has had. It rises when the value changes, and never through a rekey.
    pub serial: u64,
    /// The day on which this value was created (UTC).
    pub made: Date,
    /// The keys that the file is encrypted to.
    pub current: BTreeSet<Fingerprint>,
    /// Keys that could read this value until a rekey removed them.
    pub former: BTreeSet<Fingerprint>,
}

impl Seal {
    /// The first seal of a name.
    pub fn first(name: FileName, made: Date, current: BTreeSet<Fingerprint>) -> Self {
        Self { name, serial: 1, made, current, former: BTreeSet::new() }
    }

    /// The first seal of a file that had none. It lists previous readers.
    pub fn adopted(name: FileName, made: Date, current: BTreeSet<Fingerprint>, past: &BTreeSet<Fingerprint>) -> Self {
        let former = past.difference(&current).copied().collect();
        Self { former, ..Self::first(name, made, current) }
    }

    /// The seal of the next value: a new serial, and no keys that only knew older values. `None` if no serial is left,
    /// which only a forged seal can cause.
    pub fn next_value(&self, made: Date, current: BTreeSet<Fingerprint>) -> Option<Self> {
        let serial = self.serial + 1;
        let next = Self { name: self.name.clone(), serial, made, current, former: BTreeSet::new() };
        (!self.is_last()).then_some(next)
    }

    /// Whether its serial is the last possible one. Then it does not say how many values there were.
    pub fn is_last(&self) -> bool {
        self.serial + 1 >= SERIAL_LIMIT
    }

    /// The seal of the same value for other recipients. It remembers those who lose access.
    #[must_use]
    pub fn same_value(&self, current: BTreeSet<Fingerprint>) -> Self {
        let knew: BTreeSet<_> = self.current.union(&self.former).copied().collect();
        let former = knew.difference(&current).copied().collect();
        Self { name: self.name.clone(), serial: self.serial, made: self.made, current, former }
    }

    /// All keys that could ever read this value.
    pub fn ever(&self) -> impl Iterator<Item = &Fingerprint> {
        self.current.union(&self.former)
    }

    /// The arguments of the stanza, after its type.
    pub fn arguments(&self) -> Vec<String> {
        vec![
            VERSION.to_owned(),
            self.name.to_string(),
            self.serial.to_string(),
            self.made.to_string(),
            self.current.len().to_string(),
            self.former.len().to_string(),
        ]
    }

    /// The body of the stanza.
    pub fn body(&self) -> Vec<u8> {
        self.current.iter().chain(&self.former).flat_map(|fingerprint| fingerprint.0).collect()
    }

    fn parse(arguments: &[&str], body: &[u8]) -> Result<Self, Fault> {
        let [version, name, serial, made, current, former] = arguments else {
            return Err(match arguments {
                [version, ..] if *version != VERSION => Fault::NewerSeal,
                _ => Fault::BrokenSeal,
            });
        };
        if *version != VERSION {
            return Err(Fault::NewerSeal);
        }
        let number = |text: &str| {
            let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            plain.then(|| text.parse::<u64>().ok()).flatten().ok_or(Fault::BrokenSeal)
        };
        let count = |text| number(text).and_then(|number| usize::try_from(number).map_err(|_| Fault::BrokenSeal));
        let (current, former) = (count(current)?, count(former)?);
        let all = body.as_chunks::<8>();
        if !all.1.is_empty() || current.checked_add(former) != Some(all.0.len()) || current == 0 {
            return Err(Fault::BrokenSeal);
        }
        let serial = number(serial)?;
        if serial >= SERIAL_LIMIT {
            return Err(Fault::ForgedSerial);
        }
        let sorted = |keys: &[[u8; 8]]| {
            keys.windows(2).all(|pair| pair[0] < pair[1]).then(|| keys.iter().copied().map(Fingerprint).collect())
        };
        let (now, then) = all.0.split_at(current);
        Ok(Self {
            name: name.parse().map_err(|_| Fault::BrokenSeal)?,
            serial,
            made: made.parse().map_err(|_| Fault::BrokenSeal)?,
            current: sorted(now).ok_or(Fault::BrokenSeal)?,
            former: sorted(then).ok_or(Fault::BrokenSeal)?,
        })
    }
}

/// What can be read from a sealed file without any key.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The seal, if the file has one.
    pub seal: Option<Seal>,
    /// The recipient stanzas, in the file's order, without the seal and grease stanzas.
    pub stanzas: Vec<Slot>,
    /// Encrypted to a passphrase, which no secret of a fleet should be.
    pub passphrase: bool,
    /// Encrypted to post-quantum keys of a type that is not supported.
    pub hybrid: bool,
    pub mac: Mac,
    /// For a file without a seal, a fingerprint for each stanza, for use in a seal if the key is unknown.
    pub marks: Vec<Fingerprint>,
}

/// The stanza type of a file that is encrypted to a passphrase.
const PASSPHRASE: &str = "scrypt";
/// The stanza type of a file that is encrypted to an `age1pq1…` key.
const HYBRID: &str = "mlkem768x25519";
/// The known stanza types.
const KINDS: [&str; 7] = ["X25519", "ssh-ed25519", "ssh-rsa", "p256tag", "mlkem768p256tag", HYBRID, PASSPHRASE];

/// One recipient stanza, as far as it can be read without a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The stanza's type if it is known; `None` for a plugin's own.
    pub kind: Option<&'static str>,
    /// The four bytes that identify the key of an SSH stanza.
    pub tag: Option<[u8; 4]>,
}

impl Envelope {
    /// Reads the header at the start of a binary age file.
    pub fn read(file: &[u8]) -> Result<Self, Fault> {
        let header = Header::split(file)?;
        let mut seal = None;
        let mut stanzas = Vec::with_capacity(header.stanzas.len());
        for stanza in &header.stanzas {
            if stanza.kind == STANZA {
                if seal.is_some() {
                    return Err(Fault::DoubledSeal);
                }
                let body = stanza.body().ok_or(Fault::BrokenSeal)?;
                seal = Some(Seal::parse(&stanza.arguments, &body)?);
            } else if !stanza.kind.ends_with("-grease") {
                let tag = if stanza.kind == "ssh-ed25519" || stanza.kind == "ssh-rsa" {
                    stanza.arguments.first().and_then(|tag| BASE64_STANDARD_NO_PAD.decode(tag).ok()?.try_into().ok())
                } else {
                    None
                };
                let kind = KINDS.into_iter().find(|kind| *kind == stanza.kind);
                stanzas.push(Slot { kind, tag });
            }
        }
        let passphrase = stanzas.iter().any(|slot| slot.kind == Some(PASSPHRASE));
        let hybrid = stanzas.iter().any(|slot| slot.kind == Some(HYBRID));
        let readers = header.stanzas.iter().filter(|stanza| seal.is_none() && !stanza.kind.ends_with("-grease"));
        let marks = readers.map(|stanza| {
            // SSH stanzas identify their key by the first argument. The further arguments differ from file to file.
            let told = if stanza.kind.starts_with("ssh-") { 1 } else { stanza.arguments.len() };
            let words: Vec<&str> = stanza.arguments.iter().take(told).copied().collect();
            Fingerprint::of(&format!("{} {}", stanza.kind, words.join(" ")))
        });
        let marks = marks.collect();
        Ok(Self { seal, stanzas, passphrase, hybrid, mac: header.mac, marks })
    }

    /// Compares the stanzas with the seal: there must be as many as it lists and, for known keys, of the right types
    /// and with the right tags. Returns what does not match.
    pub fn contradiction(&self, known: &BTreeMap<Fingerprint, &Recipient>) -> Option<String> {
        let seal = self.seal.as_ref()?;
        if self.stanzas.len() != seal.current.len() {
            return Some(format!(
                "it has {} recipient stanzas, its seal counts {}",
                self.stanzas.len(),
                seal.current.len()
            ));
        }
        let mut left: Vec<Option<&Slot>> = self.stanzas.iter().map(Some).collect();
        for recipient in seal.current.iter().filter_map(|fingerprint| known.get(fingerprint)) {
            let Some(kind) = recipient.kind().stanza() else { continue };
            let tag = recipient.ssh_tag();
            let fits = |slot: Option<&Slot>| slot.is_some_and(|slot| slot.kind == Some(kind) && slot.tag == tag);
            match left.iter_mut().find(|slot| fits(**slot)) {
                Some(slot) => *slot = None,
                None => return Some(format!("it has no {kind} stanza for a key that its seal lists")),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(current: &[u8], former: &[u8]) -> Seal {
        let set = |keys: &[u8]| keys.iter().map(|key| Fingerprint([*key; 8])).collect();
        Seal {
            name: "a/b".parse().unwrap(),
            serial: 7,
            made: "2026-11-23".parse().unwrap(),
            current: set(current),
            former: set(former),
        }
    }

    #[test]
    fn a_seal_is_read_as_it_was_written() {
        let seal = seal(&[3, 1, 2], &[9]);
        let arguments = seal.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(arguments, ["1", "a/b", "7", "2026-11-23", "3", "1"]);
        assert_eq!(Seal::parse(&arguments, &seal.body()).unwrap(), seal);
    }

    #[test]
    fn what_is_not_exactly_a_seal_is_refused() {
        let good = seal(&[1, 2], &[3]);
        let body = good.body();
        for arguments in [
            ["2", "a/b", "7", "2026-11-23", "2", "1"],
            ["1", "../b", "7", "2026-11-23", "2", "1"],
            ["1", "a/b", "-7", "2026-11-23", "2", "1"],
            ["1", "a/b", "07", "2026-11-23", "2", "1"],
            ["1", "a/b", "18446744073709551615", "2026-11-23", "2", "1"],
            ["1", "a/b", "7", "2026-13-23", "2", "1"],
            ["1", "a/b", "7", "2026-11-23", "3", "1"],
            ["1", "a/b", "7", "2026-11-23", "0", "3"],
            ["1", "a/b", "7", "2026-11-23", "18446744073709551615", "4"],
        ] {
            assert!(Seal::parse(&arguments, &body).is_err(), "{arguments:?}");
        }
        let fine = ["1", "a/b", "7", "2026-11-23", "2", "1"];
        assert!(Seal::parse(&fine, &body).is_ok());
        assert!(Seal::parse(&fine, &body[1..]).is_err(), "cut");
        assert!(Seal::parse(&fine, &[&body[8..16], &body[..8], &body[16..]].concat()).is_err(), "unsorted");
        assert!(Seal::parse(&fine, &[&body[..8], &body[..8], &body[16..]].concat()).is_err(), "twice");
    }

    #[test]
    fn rekey_remembers_and_rotation_forgets() {
        let keys = |keys: &[u8]| keys.iter().map(|key| Fingerprint([*key; 8])).collect::<BTreeSet<_>>();
        let one = seal(&[1, 2], &[]);
        let without_two = one.same_value(keys(&[1, 3]));
        assert_eq!((without_two.serial, &without_two.former), (7, &keys(&[2])));
        let two_is_back = without_two.same_value(keys(&[1, 2]));
        assert_eq!(two_is_back.former, keys(&[3]));
        let rotated = without_two.next_value(one.made, keys(&[1, 3])).unwrap();
        assert_eq!((rotated.serial, rotated.former.len()), (8, 0));
    }
}
