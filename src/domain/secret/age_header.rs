//! Splits the header of an age v1 file into its stanzas, in one linear pass and within fixed limits, so that a hostile
//! file cannot cost much time: age's own parser takes quadratic time in the header's length.
//!
//! The format: <https://c2sp.org/age>, section "Header". Nothing is decrypted or verified here.

use std::fmt;

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};

use crate::domain::name::FileName;

/// The longest accepted header, in bytes.
pub const HEADER_LIMIT: usize = 64 << 10;
/// The maximum number of recipients of a file.
pub const RECIPIENT_LIMIT: usize = 512;
/// The largest ciphertext that is read, in bytes.
pub const FILE_LIMIT: u64 = 16 << 20;
/// The largest value that is sealed by default, in bytes.
pub const VALUE_LIMIT: usize = 1 << 20;
/// The largest value that can be sealed at all: even with the longest header, the file stays within `FILE_LIMIT`.
pub const VALUE_MAXIMUM: usize = (16 << 20) - HEADER_LIMIT - (64 << 10);
/// The first line of an age v1 file.
const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// The first line of an armored age file.
pub const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// Why a file is not a valid sealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Empty,
    NotAge,
    /// Reading it failed, for example for lack of permission.
    Unreadable,
    /// A symlink, a directory, or a file that is too large.
    NotAFile,
    /// It has conflict markers of a merge.
    ConflictMarkers,
    /// The placeholder text of Git LFS.
    LfsPointer,
    /// A later version of the format.
    NewerAge,
    /// The header is longer than the limit.
    HeaderTooLong,
    /// More recipients than the limit.
    TooManyStanzas,
    /// The header or the body is truncated or malformed.
    Damaged,
    /// The seal is malformed.
    BrokenSeal,
    /// The serial is higher than any secret can have reached.
    ForgedSerial,
    DoubledSeal,
    /// The seal is of a later version.
    NewerSeal,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Empty => "it is empty",
            Fault::NotAge => "it is not an age file",
            Fault::Unreadable => "it cannot be read",
            Fault::NotAFile => "it is a link, too large, or no file at all, and is not looked into",
            Fault::ConflictMarkers => "a merge left conflict markers in it",
            Fault::LfsPointer => "it is a Git LFS pointer, not the file itself",
            Fault::NewerAge => "it was made by a newer version of age",
            Fault::HeaderTooLong => "its header is longer than 64 KiB",
            Fault::TooManyStanzas => "it has more than 512 recipients",
            Fault::Damaged => "it is damaged or cut short",
            Fault::BrokenSeal => "its seal is not well formed",
            Fault::ForgedSerial => "its seal counts more values than a secret can have had: it is forged or damaged",
            Fault::DoubledSeal => "it has two seals",
            Fault::NewerSeal => "its seal is of a newer version",
        })
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// What a person can do about it.
    pub fn advice(self, file: &FileName) -> String {
        match self {
            Fault::ConflictMarkers => format!(
                "settle recipients.toml first, then restore the version whose value is in use (`git log --merge -- {}` shows both)",
                file.path()
            ),
            Fault::Unreadable => "look at its permissions and at the disk".to_owned(),
            Fault::LfsPointer => "run `git lfs pull`, and take *.age out of LFS: sealed files are small".to_owned(),
            Fault::NewerAge | Fault::NewerSeal => "use a newer sealift".to_owned(),
            _ => restore(file),
        }
    }
}

/// What a person can do about a file that is damaged, or was changed by another program.
pub fn restore(file: &FileName) -> String {
    let path = file.path();
    format!("restore it from git (`git checkout -- {path}`), or seal the value again: `sealift seal {file} --replace`")
}

/// What a person can do about a file that was sealed under another name.
pub fn rename(file: &FileName) -> String {
    format!(
        "it was swapped, copied or renamed by hand: restore it from git (`git log -- {}` shows its versions); `sealift mv OLD NEW` renames a secret",
        file.path()
    )
}

/// What a person can do about a file that is sealed to a passphrase.
pub fn seal_to_keys(file: &FileName) -> String {
    format!("seal its value to keys: `age -d {} | sealift seal {file} --replace --stdin`", file.path())
}

pub struct Header<'a> {
    pub stanzas: Vec<Stanza<'a>>,
    /// The header's MAC, unique to this file.
    pub mac: Mac,
}

/// The MAC of a header. It covers every byte of the header under a key unique to the file, so it identifies an age file
/// regardless of its encoding.
pub type Mac = [u8; 32];

/// One stanza; its body is still base64.
pub struct Stanza<'a> {
    pub kind: &'a str,
    pub arguments: Vec<&'a str>,
    lines: &'a [u8],
}

impl<'a> Header<'a> {
    /// Splits the header at the start of a file.
    pub fn split(file: &'a [u8]) -> Result<Self, Fault> {
        if !file.starts_with(MAGIC) {
            return Err(stranger(file));
        }
        let text = &file[..file.len().min(HEADER_LIMIT)];
        let cut = if file.len() > HEADER_LIMIT { Fault::HeaderTooLong } else { Fault::Damaged };
        let mut stanzas = Vec::new();
        let mut at = MAGIC.len();
        loop {
            let line = line_at(text, at).ok_or(cut)?;
            if let Some(mac) = line.strip_prefix(b"--- ") {
                let mac: Option<Mac> = BASE64_STANDARD_NO_PAD.decode(mac).ok().and_then(|mac| mac.try_into().ok());
                let len = at + line.len() + 1;
                // Followed by a nonce of 16 bytes and at least one chunk's tag of 16 bytes.
                let whole = file.len() >= len + 32;
                return match mac.filter(|_| whole && !stanzas.is_empty()) {
                    Some(mac) => Ok(Self { stanzas, mac }),
                    None => Err(Fault::Damaged),
                };
            }
            let arguments = line.strip_prefix(b"-> ").ok_or(Fault::Damaged)?;
            if stanzas.len() > RECIPIENT_LIMIT + 8 {
                return Err(Fault::TooManyStanzas);
            }
            if !arguments.iter().all(|b| (0x20..=0x7e).contains(b)) {
                return Err(Fault::Damaged);
            }
            let arguments = std::str::from_utf8(arguments).map_err(|_| Fault::Damaged)?;
            let mut words = arguments.split(' ');
            let kind = words.next().filter(|kind| !kind.is_empty()).ok_or(Fault::Damaged)?;
            let arguments: Vec<_> = words.collect();
            if arguments.iter().any(|word| word.is_empty()) {
                return Err(Fault::Damaged);
            }
            at += line.len() + 1;
            let start = at;
            loop {
                let line = line_at(text, at).ok_or(cut)?;
                if line.len() > 64 {
                    return Err(Fault::Damaged);
                }
                at += line.len() + 1;
                if line.len() < 64 {
                    break;
                }
            }
            stanzas.push(Stanza { kind, arguments, lines: &text[start..at] });
        }
    }
}

impl Stanza<'_> {
    /// The decoded body, if valid.
    pub fn body(&self) -> Option<Vec<u8>> {
        let joined: Vec<u8> = self.lines.iter().copied().filter(|b| *b != b'\n').collect();
        BASE64_STANDARD_NO_PAD.decode(joined).ok()
    }
}

fn line_at(text: &[u8], at: usize) -> Option<&[u8]> {
    let rest = text.get(at..)?;
    rest.iter().position(|b| *b == b'\n').map(|end| &rest[..end])
}

/// Identifies a file that is not an age file.
fn stranger(file: &[u8]) -> Fault {
    if file.is_empty() {
        Fault::Empty
    } else if file.starts_with(b"<<<<<<< ") {
        Fault::ConflictMarkers
    } else if file.starts_with(b"version https://git-lfs") {
        Fault::LfsPointer
    } else if file.starts_with(b"age-encryption.org/v1") {
        Fault::Damaged
    } else if file.starts_with(b"age-encryption.org/") {
        Fault::NewerAge
    } else {
        Fault::NotAge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(stanzas: usize) -> Vec<u8> {
        let mut text = MAGIC.to_vec();
        for _ in 0..stanzas {
            text.extend(b"-> X25519 abc\nAAAA\n");
        }
        text.extend(b"--- ");
        text.extend([b'A'; 43]);
        text.push(b'\n');
        text.extend([0; 40]);
        text
    }

    #[test]
    fn a_header_is_split_at_its_end() {
        let file = file(3);
        let header = Header::split(&file).unwrap();
        assert_eq!(header.stanzas.len(), 3);
        assert_eq!((header.stanzas[0].kind, header.stanzas[0].arguments.as_slice()), ("X25519", &["abc"][..]));
        assert_eq!(header.stanzas[0].body(), Some(vec![0; 3]));
    }

    #[test]
    fn every_cut_is_a_fault() {
        let file = file(2);
        for end in 0..file.len() - 8 {
            assert!(Header::split(&file[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_stands_in_its_place_is_named() {
        for (bytes, fault) in [
            (&b""[..], Fault::Empty),
            (b"<<<<<<< HEAD\nx", Fault::ConflictMarkers),
            (b"version https://git-lfs.github.com/spec/v1\n", Fault::LfsPointer),
            (b"age-encryption.org/v2\n", Fault::NewerAge),
            (b"404 not found", Fault::NotAge),
        ] {
            assert_eq!(Header::split(bytes).err(), Some(fault));
        }
    }

    #[test]
    fn hostile_headers_are_cheap() {
        assert_eq!(Header::split(&file(20_000)).err(), Some(Fault::TooManyStanzas));
        let mut long = MAGIC.to_vec();
        long.extend(b"-> x ");
        long.extend(vec![b'a'; 8 << 20]);
        assert_eq!(Header::split(&long).err(), Some(Fault::HeaderTooLong));
    }
}
