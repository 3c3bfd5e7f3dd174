//! Editing on systems other than Linux (`scratch.rs`) is refused: an ordinary user has no place there that is certainly
//! in memory, and a value is never written to a disk.

use std::ffi::OsString;
use std::path::Path;

use crate::adapters::editor::{Editor, Surroundings};
use crate::adapters::process::Ended;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

pub struct Edited {
    pub value: Option<Plaintext>,
    pub ended: Ended,
}

pub fn edit(
    _value: &Plaintext,
    _name: &str,
    _editor: &Editor,
    _around: &Surroundings,
    _limit: usize,
    _saved: impl FnOnce() -> Result<()>,
) -> Result<Edited> {
    Err(nowhere())
}

pub fn help(_point: &Path, _name: &str, _editor: Option<&Editor>, _: Option<&OsString>, _limit: usize) -> Result<()> {
    Err(nowhere())
}

fn nowhere() -> Error {
    Error::failed("there is no place in memory to edit in on this system, and a value is never written to a disk")
        .help("pipe the value instead: `sealift show NAME | … | sealift rotate NAME --stdin`")
}
