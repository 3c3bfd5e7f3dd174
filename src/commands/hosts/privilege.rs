//! With which rights something is done on a machine.

use secrecy::SecretString;

use crate::adapters::process::{Ended, Invocation};
use crate::error::{Error, Result};

/// How to become root on a machine.
#[derive(Clone, Debug)]
pub enum Rights {
    /// We are, or root is not needed.
    Root,
    /// By sudo, which asks nothing.
    Sudo,
    /// By doas, which asks nothing.
    Doas,
    /// By sudo, with this password; only on other machines.
    Password(SecretString),
}

impl Rights {
    /// The words that make a call one of root's.
    pub fn words(&self) -> &'static [&'static str] {
        match self {
            Rights::Root => &[],
            Rights::Sudo => &["sudo", "-n", "--"],
            Rights::Doas => &["doas", "-n", "--"],
            // `-k`: what sudo remembers must not leave the password to the program behind it.
            Rights::Password(_) => &["sudo", "-k", "-S", "--prompt=", "--"],
        }
    }

    /// A call on this machine, made one of root's.
    pub fn lift(&self, call: Invocation) -> Invocation {
        match self.words() {
            [program, options @ ..] => call.under(program, options),
            [] => call,
        }
    }

    /// Looks on this machine, and asks for a password where sudo wants one and somebody is there to type it.
    pub fn get() -> Result<Self> {
        if rustix::process::geteuid().is_root() {
            return Ok(Rights::Root);
        }
        let silent =
            |rights: &Rights| rights.lift(Invocation::new("true")).run().is_ok_and(|output| output.ended.success());
        if let Some(rights) = [Rights::Sudo, Rights::Doas].into_iter().find(silent) {
            return Ok(rights);
        }
        if Invocation::new("sudo").arg("-v").attended().is_ok_and(Ended::success) {
            return Ok(Rights::Sudo);
        }
        Err(Error::failed("activating a system needs root, and neither sudo nor doas gives that right")
            .help("run this as root, or as a user who may run anything with sudo, or with doas without a password"))
    }
}
