//! Identifies the caller of a host program, and builds its requests.

use std::path::{Path, PathBuf};

use crate::adapters::fs::files;
use crate::adapters::host::run_dir;
use crate::domain::deploy::protocol::{HostCommand, HostRequest, VERSION};
use crate::domain::name::HostName;
use crate::error::Result;

/// The user who sends requests, and the program that sends them.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `user@machine`.
    pub who: String,
    pub program: PathBuf,
}

impl Caller {
    /// Returns a new, unique name for a run.
    pub fn run() -> Result<String> {
        Ok(format!("{}-{}", run_dir::now().replace([':', '-'], ""), files::token()?))
    }

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
