//! Parses JSON with a version field, which is read first, because in another version everything else may differ.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Parses JSON of one of these versions.
pub fn read<T: DeserializeOwned>(
    json: &[u8],
    versions: RangeInclusive<u32>,
    malformed: impl Fn(serde_json::Error) -> Error,
    other: impl FnOnce(u32) -> Error,
) -> Result<T> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(json).map_err(&malformed)?;
    if !versions.contains(&version) {
        return Err(other(version));
    }
    serde_json::from_slice(json).map_err(malformed)
}

/// The position of an error. The message of serde may quote the text, so it is not used.
pub fn place(fault: &serde_json::Error) -> String {
    format!("line {}, column {}", fault.line(), fault.column())
}
