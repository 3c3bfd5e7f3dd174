//! JSON that says of which version it is: that is read first, since another version may have all else in another form.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Reads JSON of one of these versions.
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

/// Where a text is not as it should be. What serde says of it may quote the text.
pub fn place(fault: &serde_json::Error) -> String {
    format!("line {}, column {}", fault.line(), fault.column())
}
