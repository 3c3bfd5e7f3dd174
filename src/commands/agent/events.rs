//! How the program on the host talks: events to the caller, and the same into the log of the run.

use std::sync::{Arc, OnceLock};

use secrecy::SecretString;

use crate::adapters::host::run_dir::Bench;
use crate::adapters::prompt::Ask;
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::protocol::HostEvent;
use crate::error::{Error, Kind, Result};

/// Whoever listens to the program on the host. That nobody listens any more does not stop the work.
pub type Listener = Box<dyn Fn(&HostEvent) + Send + Sync>;

pub struct Reporter {
    listener: Listener,
    bench: OnceLock<Arc<Bench>>,
}

impl Reporter {
    pub fn new(listener: Listener) -> Self {
        Self { listener, bench: OnceLock::new() }
    }

    /// From now on everything goes into the log too.
    pub fn log_to(&self, bench: &Arc<Bench>) {
        // There is one bench in a run.
        let _second = self.bench.set(Arc::clone(bench));
    }

    pub fn step(&self, text: impl Into<String>) {
        self.tell(&HostEvent::Step { text: text.into() });
    }

    /// A line of the system's own programs.
    pub fn said(&self, text: &str) {
        if !text.trim().is_empty() {
            self.tell(&HostEvent::Said { text: text.to_owned() });
        }
    }

    /// Something is wrong, and the work goes on.
    pub fn warn(&self, text: impl Into<String>) {
        self.tell(&HostEvent::Warning { text: text.into() });
    }

    pub fn tell(&self, told: &HostEvent) {
        if let Some(bench) = self.bench.get() {
            bench.log(told);
        }
        (self.listener)(told);
    }
}

impl Ask for Reporter {
    fn passphrase(&self, what: &str) -> Result<SecretString> {
        Err(Error::new(Kind::NoIdentity, format!("{what} is protected by a passphrase, and a host has nobody to ask")))
    }

    fn password(&self, what: &str) -> Result<SecretString> {
        Err(Error::failed(format!("there is nobody to ask for the {what}")))
    }

    fn tell(&self, message: &str) {
        self.said(message);
    }

    fn confirm(&self, _question: &str) -> Result<bool> {
        Ok(false)
    }
}

impl Talk for Reporter {
    fn event(&self, event: Event) {
        match event.printed() {
            Some((text, true)) => self.warn(text),
            Some((text, false)) => self.said(&text),
            None => {}
        }
    }
}
