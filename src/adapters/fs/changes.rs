//! A change of several files of a fleet, and its journal format.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The first line of a journal.
const MAGIC: &str = "sealift-journal 1";

#[derive(Debug, Default)]
pub struct Changes(pub Vec<Change>);

#[derive(Debug)]
pub struct Change {
    /// Relative to the top of the fleet.
    pub path: String,
    /// The digest of the file when the change was decided; `None` if it did not exist.
    pub before: Option<[u8; 32]>,
    /// The new content; `None` to remove the file.
    pub after: Option<Vec<u8>>,
    /// The permissions of the new file.
    pub mode: u32,
}

/// The default permissions: files of a fleet are readable by everyone.
const MODE: u32 = 0o644;

/// The header line before each file's bytes in a journal.
#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    before: Option<String>,
    after: Option<(u64, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
}

impl Change {
    /// Writes a file. `before` is its content when it was read, to detect a concurrent change.
    pub fn write(path: impl Into<String>, before: Option<&[u8]>, after: Vec<u8>) -> Self {
        Self { path: path.into(), before: before.map(digest), after: Some(after), mode: MODE }
    }
}

impl Changes {
    pub fn add(&mut self, change: Change) {
        self.0.push(change);
    }

    /// Writes a file, like `Change::write`.
    pub fn write(&mut self, path: impl Into<String>, before: Option<&[u8]>, after: Vec<u8>) {
        self.add(Change::write(path, before, after));
    }

    /// Writes a file and keeps its permissions.
    pub fn write_keeping(&mut self, path: impl Into<String>, before: &[u8], after: Vec<u8>, mode: u32) {
        self.add(Change { mode, ..Change::write(path, Some(before), after) });
    }

    pub fn remove(&mut self, path: impl Into<String>, before: &[u8]) {
        self.0.push(Change { path: path.into(), before: Some(digest(before)), after: None, mode: MODE });
    }

    /// Appends changes that are carried out after these.
    pub fn append(&mut self, mut later: Changes) {
        self.0.append(&mut later.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths, relative to the top of the fleet.
    pub fn paths(&self) -> Vec<String> {
        self.0.iter().map(|change| change.path.clone()).collect()
    }
}

/// Encodes changes as a journal.
pub fn encoded(changes: &[Change]) -> Result<Vec<u8>> {
    let contents = changes.iter().filter_map(|change| change.after.as_ref()).map(Vec::len).sum::<usize>();
    let mut bytes = Vec::with_capacity(contents + 256 * (1 + changes.len()));
    bytes.extend_from_slice(format!("{MAGIC}\n").as_bytes());
    for change in changes {
        let after = change.after.as_ref().map(|after| (after.len() as u64, encode(&digest(after))));
        let mode = (change.mode != MODE).then_some(change.mode);
        let line = Line { path: change.path.clone(), before: change.before.as_ref().map(encode), after, mode };
        serde_json::to_writer(&mut bytes, &line)
            .map_err(|error| Error::failed("cannot write the journal").because(error))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(change.after.as_deref().unwrap_or_default());
    }
    bytes.extend_from_slice(format!("end {}\n", encode(&digest(&bytes))).as_bytes());
    Ok(bytes)
}

/// Decodes a journal; `None` if it is incomplete or invalid.
pub fn parse(bytes: &[u8]) -> Option<Vec<Change>> {
    let body_end = bytes.len().checked_sub("end \n".len() + 44)?;
    let (body, end) = bytes.split_at(body_end);
    if end != format!("end {}\n", encode(&digest(body))).as_bytes() {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC.as_bytes())?.strip_prefix(b"\n")?;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n')?;
        let line: Line = serde_json::from_slice(&rest[..end]).ok()?;
        rest = &rest[end + 1..];
        let after = match line.after {
            None => None,
            Some((length, _)) => {
                let (content, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                rest = tail;
                Some(content.to_vec())
            }
        };
        let inside = !line.path.starts_with('/')
            && line.path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        let before = match line.before {
            None => None,
            Some(text) => Some(BASE64_STANDARD.decode(text).ok()?.try_into().ok()?),
        };
        inside.then(|| {
            changes.push(Change { path: line.path, before, after, mode: line.mode.unwrap_or(MODE) & 0o777 });
        })?;
    }
    Some(changes)
}

pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn encode(digest: &[u8; 32]) -> String {
    BASE64_STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_cannot_lead_out_of_the_fleet() {
        let body = format!("{MAGIC}\n{}\n", r#"{"path":"../x","before":null,"after":null}"#);
        let whole = format!("{body}end {}\n", encode(&digest(body.as_bytes())));
        assert!(parse(whole.as_bytes()).is_none());
    }
}
