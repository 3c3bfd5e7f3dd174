//! Who asks a host for something, and with which rights there.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::adapters::process::{Ended, Invocation};
use crate::adapters::{bench, files};
use crate::error::{Error, Result};
use crate::fleet::name::HostName;
use crate::fleet::order::{Order, VERSION, Work};

/// The verb under which the program on the host is started.
pub const VERB: &str = "host-run";
/// Who asks, and with which program.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `user@machine`.
    pub who: String,
    /// This program's own file.
    pub program: PathBuf,
}

impl Caller {
    /// A name for a run, which no other has.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn run() -> Result<String> {
        Ok(format!("{}-{}", bench::now().replace([':', '-'], ""), files::token()?))
    }

    /// An order of this caller.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn order(&self, root: &Path, host: Option<HostName>, work: Work) -> Result<Order> {
        Ok(Order { version: VERSION, run: Self::run()?, who: self.who.clone(), root: root.to_owned(), host, work })
    }
}

/// How to become root on a machine.
#[derive(Clone, Debug)]
pub enum Rights {
    /// We are, or root is not needed.
    Root,
    /// By sudo, which asks nothing.
    Sudo,
    /// By sudo, with this password; only on other machines.
    Password(SecretString),
}

impl Rights {
    /// Looks on this machine, and asks for a password where sudo wants one and somebody is there to type it.
    ///
    /// # Errors
    /// When neither is to be had.
    pub fn get() -> Result<Self> {
        if rustix::process::geteuid().is_root() {
            return Ok(Rights::Root);
        }
        let silent = Invocation::new("sudo").args(["-n", "--", "true"]).run().is_ok_and(|output| output.ended.well());
        if silent || Invocation::new("sudo").arg("-v").attended().is_ok_and(Ended::well) {
            return Ok(Rights::Sudo);
        }
        Err(Error::failed("activating a system needs root, and sudo gives no such right")
            .hint("run this as root, or as a user whom sudo lets do anything"))
    }
}
