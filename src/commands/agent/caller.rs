//! Who asks a host for something: for its lock, its record, and the request itself.

use std::path::{Path, PathBuf};

use crate::adapters::fs::files;
use crate::adapters::host::run_dir;
use crate::domain::deploy::protocol::{HostCommand, HostRequest, VERSION};
use crate::domain::name::HostName;
use crate::error::Result;

/// Who asks, and with which program.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `user@machine`.
    pub who: String,
    pub program: PathBuf,
}

impl Caller {
    /// A name for a run, which no other has.
    pub fn run() -> Result<String> {
        Ok(format!("{}-{}", run_dir::now().replace([':', '-'], ""), files::token()?))
    }

    /// A request of this caller.
    pub fn request(&self, root: &Path, host: Option<HostName>, command: HostCommand) -> Result<HostRequest> {
        Ok(HostRequest {
            version: VERSION,
            run: Self::run()?,
            who: self.who.clone(),
            root: root.to_owned(),
            host,
            command,
        })
    }
}
