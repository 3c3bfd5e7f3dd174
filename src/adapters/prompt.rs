//! What an adapter may ask the user. The command line implements it with the terminal; without one, tests and scripts
//! get an error that says so.

use secrecy::SecretString;

use crate::error::Result;

/// A user who can be asked.
pub trait Ask: Send + Sync {
    /// Asks for a passphrase, typed without echo. `what` names what it opens.
    ///
    /// Fails with `NoIdentity` if nobody can be asked; with `Interrupted` on Ctrl-C.
    fn passphrase(&self, what: &str) -> Result<SecretString>;

    /// Asks for another password, typed without echo, such as that of sudo on a host.
    ///
    /// Fails if nobody can be asked; with `Interrupted` on Ctrl-C.
    fn password(&self, what: &str) -> Result<SecretString>;

    /// How many attempts a passphrase has: people mistype, scripts do not.
    fn attempts(&self) -> usize {
        1
    }

    /// Shows a line of untrusted text, such as a plugin's "touch your key".
    fn tell(&self, message: &str);

    /// Whether a user can be asked.
    fn is_there(&self) -> bool {
        false
    }

    /// Asks for a line that may be seen, such as a date. `None` without a terminal.
    fn answer(&self, _question: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// Asks a yes-or-no question. Without a terminal the answer is no.
    fn confirm(&self, question: &str) -> Result<bool>;
}
