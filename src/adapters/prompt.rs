//! What an adapter may ask a person. The command line implements it with the terminal; tests and scripts without one
//! get a refusal that says so.

use secrecy::SecretString;

use crate::error::Result;

/// Somebody who can be asked.
pub trait Ask: Send + Sync {
    /// A passphrase, typed without echo. `what` names the thing it opens.
    ///
    /// Fails with `NoIdentity` where nobody can be asked; `Interrupted` on Ctrl-C.
    fn passphrase(&self, what: &str) -> Result<SecretString>;

    /// Another password, typed without echo, such as that of sudo on a host.
    ///
    /// Fails where nobody can be asked; `Interrupted` on Ctrl-C.
    fn password(&self, what: &str) -> Result<SecretString>;

    /// How often a wrong passphrase may be given again: a person mistypes, a script does not.
    fn attempts(&self) -> usize {
        1
    }

    /// A line of foreign text for the person to read, such as a plugin's "touch your key".
    fn tell(&self, message: &str);

    /// Whether there is a person who can be asked.
    fn is_there(&self) -> bool {
        false
    }

    /// A line that may be seen, such as a date. None without a terminal.
    fn answer(&self, _question: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// A yes or no. Without a terminal the answer is no.
    fn confirm(&self, question: &str) -> Result<bool>;
}
