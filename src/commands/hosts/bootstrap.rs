//! The program of ours on another machine: that of the running system, or, before the first deploy, this very program,
//! brought into the store there.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::host::accounts;
use crate::adapters::nix;
use crate::adapters::ssh::Connection;
use crate::commands::hosts::privilege::Caller;
use crate::domain::foreign::cut;
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// The program of the running system: the one that a line in sudoers can name.
pub const RUNNING: &str = "/run/current-system/etc/sealift/host";
/// The program in a store path that was brought.
pub const STORED: &str = "bin/sealift";
/// What to do where this program does not run.
pub const MEND: &str = "give a static sealift for that machine with `--host-program FILE`";

/// A program that may be brought, put into the store at the first need.
pub struct Brought {
    /// Its file, where another one than this program was named.
    pub named: Option<PathBuf>,
    folder: PathBuf,
    stored: Mutex<Option<String>>,
}

impl Brought {
    /// Nothing is in the store yet. What is made on the way, and the link that keeps it, go into a folder of the run.
    pub fn new(named: Option<PathBuf>, folder: PathBuf) -> Self {
        Self { named, folder, stored: Mutex::default() }
    }

    /// The store path.
    fn store(&self, caller: &Caller) -> Result<String> {
        // Several hosts may come to this at once; the first one does it.
        let mut done = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stored) = done.as_ref() {
            return Ok(stored.clone());
        }
        let file = self.named.as_deref().unwrap_or(&caller.program);
        let folder = self.folder.join("program");
        let bytes = files::read(file, 256 << 20)?;
        files::replace(&folder.join(STORED), &bytes, 0o555, Durable::Later)?;
        let stored = nix::add("sealift", &folder)?;
        Ok(done.insert(stored).clone())
    }
}

/// The failure of a machine whose nix daemon does not let us in, if that is so: what nix says of it is only that somebody
/// hung up.
fn barred(host: &HostName, connection: &Connection) -> Option<Error> {
    let printed = |words: &[&str]| Some(connection.call(words).run().ok().filter(|output| output.ended.well())?.stdout);
    let text = |words: &[&str]| Some(String::from_utf8_lossy(&printed(words)?).trim().to_owned());
    let groups = text(&["id", "-Gn"])?.split(' ').map(str::to_owned).collect();
    let user = accounts::Caller { user: text(&["id", "-un"])?, groups };
    nix::trust_of(&printed(&nix::ASKS)?, &user).barred.then(|| nix::barred(host.as_str(), &user.user))
}

/// Brings it to a machine; where it is there.
///
/// # Errors
/// When it is no machine that the program runs on, or nix refuses.
pub fn bring(brought: &Brought, host: &HostName, connection: &Connection, caller: &Caller) -> Result<String> {
    connection.takes_copies()?;
    let printed = connection.call(&["uname", "-sm"]).run()?;
    if connection.lost(printed.ended) {
        return Err(connection.failure(&printed));
    }
    let is = cut(String::from_utf8_lossy(&printed.stdout).trim(), 100);
    let ours = format!("Linux {}", std::env::consts::ARCH);
    if is != ours && brought.named.is_none() {
        return Err(Error::failed(format!(
            "nothing of sealift is there yet, and this program does not run there: it is for `{ours}`, the machine is `{is}`"
        ))
        .hint(MEND));
    }
    // Made from its content, so that nobody has to be trusted for it.
    let stored = brought.store(caller)?;
    nix::copy_to(&connection.store(), &[&stored], |_| ()).map_err(|error| barred(host, connection).unwrap_or(error))?;
    let program = Path::new(&stored).join(STORED);
    program.to_str().map(str::to_owned).ok_or_else(|| Error::failed("the store path is not UTF-8"))
}
