//! Prefixes output with its host if there are several.

use std::sync::Arc;

use secrecy::SecretString;

use crate::adapters::prompt::Ask;
use crate::commands::talk::{Event, Talk};
use crate::domain::name::HostName;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::Result;

pub struct OfHost {
    talk: Arc<dyn Talk>,
    host: Option<HostName>,
}

impl OfHost {
    /// For one of `count` hosts. A single host is not named on each line.
    pub fn among(talk: &Arc<dyn Talk>, host: &HostName, count: usize) -> Self {
        Self { talk: Arc::clone(talk), host: (count > 1).then(|| host.clone()) }
    }
}

impl Ask for OfHost {
    fn passphrase(&self, what: &str) -> Result<SecretString> {
        self.talk.passphrase(what)
    }

    fn password(&self, what: &str) -> Result<SecretString> {
        self.talk.password(what)
    }

    fn attempts(&self) -> usize {
        self.talk.attempts()
    }

    fn tell(&self, message: &str) {
        self.talk.tell(message);
    }

    fn confirm(&self, question: &str) -> Result<bool> {
        self.talk.confirm(question)
    }
}

impl Talk for OfHost {
    fn event(&self, event: Event) {
        self.talk.event(match &self.host {
            Some(host) => Event::Of(host.clone(), Box::new(event)),
            None => event,
        });
    }

    fn new_value(&self, name: &str) -> Result<Plaintext> {
        self.talk.new_value(name)
    }

    fn new_passphrase(&self, what: &str) -> Result<SecretString> {
        self.talk.new_passphrase(what)
    }
}

/// Joins host names with commas.
pub fn listed<'a>(hosts: impl IntoIterator<Item = &'a HostName>) -> String {
    hosts.into_iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
}
