//! age's text forms: armored files decoded to binary, and the library's messages as single lines.

use std::io::Read;

use crate::domain::guarded::guarded;
use crate::domain::secret::age_header::{ARMOR, FILE_LIMIT};
use crate::error::{Error, Result};

/// Decodes an armored file; `None` if it is already binary.
///
/// Fails with `Integrity` if the armor is damaged or too long.
pub fn dearmored(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    if !bytes.starts_with(ARMOR) {
        return Ok(None);
    }
    let mut binary = Vec::with_capacity(bytes.len());
    let read = guarded(|| age::armor::ArmoredReader::new(bytes).take(FILE_LIMIT).read_to_end(&mut binary));
    read.unwrap_or_else(|| Err(std::io::ErrorKind::InvalidData.into()))
        .map_err(|error| Error::integrity("its armor is damaged").because(error))?;
    Ok(Some(binary))
}

/// The library's message as one plain line, without its Unicode isolation marks.
pub fn plain(error: &impl std::fmt::Display) -> String {
    let text: String = error.to_string().chars().filter(|c| !matches!(c, '\u{2066}'..='\u{2069}')).collect();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
