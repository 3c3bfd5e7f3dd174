//! With which rights something is done on a machine, and why they are refused.

use secrecy::SecretString;

use crate::adapters::process::{Ended, Invocation};
use crate::commands::agent::launch::VERB;
use crate::commands::hosts::bootstrap;
use crate::error::{Error, Result};

/// How to become root on a machine.
#[derive(Clone, Debug)]
pub enum Rights {
    /// The caller is root, or root is not needed.
    Root,
    /// With sudo, without a password.
    Sudo,
    /// With doas, without a password.
    Doas,
    /// With sudo and this password; only on remote machines.
    Password(SecretString),
}

impl Rights {
    /// Returns the words that run a command as root.
    pub fn words(&self) -> &'static [&'static str] {
        match self {
            Rights::Root => &[],
            Rights::Sudo => &["sudo", "-n", "--"],
            Rights::Doas => &["doas", "-n", "--"],
            // `-k`: with cached credentials sudo would not read the password, and it would reach the program's standard
            // input.
            Rights::Password(_) => &["sudo", "-k", "-S", "--prompt=", "--"],
        }
    }

    /// Makes a call on this machine run as root.
    pub fn lift(&self, call: Invocation) -> Invocation {
        match self.words() {
            [program, options @ ..] => call.under(program, options),
            [] => call,
        }
    }

    /// Finds out how to become root on this machine. sudo may ask for a password on the terminal.
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

/// What sudo or doas said instead of starting our program.
pub struct Refusal {
    ended: Ended,
    said: String,
}

impl Refusal {
    /// How it ended, and the last line of what it said.
    pub fn new(ended: Ended, said: &str) -> Self {
        Self { ended, said: said.to_owned() }
    }

    /// Whether the login shell has no such program.
    fn is_missing(&self, program: &str) -> bool {
        let said = self.said.to_lowercase();
        self.ended == Ended::Code(127) || said.ends_with(&format!("{program}: command not found."))
    }

    /// Whether sudo wants a terminal, which no program has.
    fn wants_terminal(&self) -> bool {
        self.said.contains("must have a tty")
    }

    /// Whether a password could change it.
    pub fn helps_to_ask(&self) -> bool {
        !self.is_missing("sudo") && !self.wants_terminal()
    }

    pub fn about(&self, what: &str) -> Error {
        let error = Error::failed(what);
        if self.said.is_empty() { error.because(self.ended.to_string()) } else { error.because(self.said.clone()) }
    }

    /// Why neither makes us root, and what would.
    pub fn of_both(sudo: &Self, doas: &Self, host: &str, user: &str) -> Error {
        let program = bootstrap::RUNNING;
        let in_doas = format!("`permit nopass {user} as root cmd {program} args {VERB}` in doas.conf there");
        match (sudo.is_missing("sudo"), doas.is_missing("doas")) {
            (true, true) => Error::failed(format!("{host} has neither sudo nor doas in the PATH of {user}"))
                .help("log in as root (`address = \"root@…\"`), or install one of them there"),
            (true, false) => doas.about(&format!("doas on {host} refuses {user}")).help(format!(
                "allow it without a password: {in_doas}; or log in as root"
            )),
            (false, _) if sudo.wants_terminal() => {
                sudo.about(&format!("sudo on {host} requires a terminal (`requiretty`), which no deploy has")).help(format!(
                    "`Defaults:{user} !requiretty` in sudoers there; as NixOS says it: `security.sudo.extraConfig = \"Defaults:{user} !requiretty\";`"
                ))
            }
            (false, _) => sudo.about(&format!("sudo on {host} refuses {user}")).help(format!(
                "`--ask-sudo` asks for the password; or allow it there: `{user} ALL=(root) NOPASSWD: {program} {VERB}` in sudoers; or log in as root"
            )),
        }
    }
}
