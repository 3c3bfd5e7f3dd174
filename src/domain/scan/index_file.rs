//! The file of the index: the list of covered values in the clear, and the index itself, encrypted.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use crate::domain::name::FileName;
use crate::domain::secret::recipient::Recipient;
use crate::domain::versioned;
use crate::error::{Error, Kind, Result};

pub const FILE: &str = "scan-index.json";
/// The secret that decrypts it: an age identity for the admins.
pub const KEY: &str = "scan-index-key";
/// The version of the file format that this program writes and reads.
pub const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexFile {
    version: u32,
    recipient: String,
    /// The secrets whose values it covers, with their serials.
    pub values: BTreeMap<FileName, u64>,
    index: String,
}

impl IndexFile {
    /// The file for an index that was encrypted to this recipient.
    pub fn new(recipient: &Recipient, values: BTreeMap<FileName, u64>, index: &[u8]) -> Self {
        let recipient = recipient.canonical().to_owned();
        Self { version: VERSION, recipient, values, index: BASE64_STANDARD.encode(index) }
    }

    /// The recipient that the index is encrypted to.
    pub fn recipient(&self) -> Result<Recipient> {
        Recipient::parse(&self.recipient).map_err(|error| damaged().because(error))
    }

    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let malformed = |fault| {
            Error::integrity(format!("{FILE} is damaged ({})", versioned::place(&fault)))
                .help("write it again: `sealift scan --write-index`")
        };
        versioned::read(bytes, VERSION..=VERSION, malformed, |version| {
            Error::usage(format!("{FILE} is of version {version}, and this program reads {VERSION}"))
                .help("use a newer sealift, or write the index again with this one: `sealift scan --write-index`")
        })
    }

    /// The content of the file.
    pub fn text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "cannot write the index").because(error))?;
        text.push(b'\n');
        Ok(text)
    }

    pub fn index(&self) -> Result<Vec<u8>> {
        BASE64_STANDARD.decode(&self.index).map_err(|_| damaged())
    }

    /// Those of these secrets and serials whose current value it does not cover.
    pub fn behind<'a>(&self, today: impl IntoIterator<Item = (&'a FileName, u64)>) -> Vec<String> {
        let unknown =
            |(file, serial): &(&FileName, u64)| file.as_str() != KEY && self.values.get(*file) != Some(serial);
        today.into_iter().filter(unknown).map(|(file, _)| file.to_string()).collect()
    }
}

pub fn damaged() -> Error {
    Error::integrity(format!("{FILE} is damaged")).help("write it again: `sealift scan --write-index`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_tells_what_it_covers_and_a_newer_one_is_refused() {
        let name = |name: &str| -> FileName { name.parse().unwrap() };
        let recipient = "age1x20g5szcsnj92l8fzapwcjqhqjwqc9efrwqyuem8stw602qdmpnq9l2l53";
        let values = BTreeMap::from([(name("a"), 1), (name("b"), 2)]);
        let text = IndexFile::new(&Recipient::parse(recipient).unwrap(), values, b"sealed").text().unwrap();
        let back = IndexFile::parse(&text).unwrap();
        assert_eq!((back.index().unwrap(), back.recipient().unwrap().canonical()), (b"sealed".to_vec(), recipient));
        let today = [("a", 1), ("b", 3), ("c", 1), (KEY, 4)].map(|(file, serial)| (name(file), serial));
        assert_eq!(back.behind(today.iter().map(|(file, serial)| (file, *serial))), ["b", "c"]);
        let text = String::from_utf8(text).unwrap();
        let newer = text.replace("\"version\": 1", "\"version\": 2, \"more\": 0");
        assert!(IndexFile::parse(newer.as_bytes()).unwrap_err().message().contains("version 2"));
        // Names are shown to a person as part of a command to type, so nothing else may be in their place.
        for name in ["$(reboot)", "a\\u001b[2J", "../a", "-o"] {
            let hostile = text.replace("\"a\":", &format!("\"{name}\":"));
            assert!(IndexFile::parse(hostile.as_bytes()).unwrap_err().message().contains("damaged"), "{name}");
        }
        let other = IndexFile::parse(text.replace(recipient, "age1x").as_bytes()).unwrap();
        assert!(other.recipient().unwrap_err().message().contains("scan-index.json is damaged"));
        assert!(IndexFile::parse(b"{\"version\": 1}").unwrap_err().message().contains("damaged"));
    }
}
