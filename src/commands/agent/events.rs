//! Reports events of the program on the host: to the caller and to the log of the run.

use std::sync::{Arc, OnceLock};

use secrecy::SecretString;

use crate::adapters::fs::root::Root;
use crate::adapters::host::run_dir::RunDir;
use crate::adapters::host::unit_log::Delivered;
use crate::adapters::process;
use crate::adapters::prompt::Ask;
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::protocol::HostEvent;
use crate::error::{Error, Kind, Result};

/// Receives the events. The run continues even if nobody receives them any more.
pub type Listener = Box<dyn Fn(&HostEvent) + Send + Sync>;

pub struct Reporter {
    listener: Listener,
    run_dir: OnceLock<Arc<RunDir>>,
    delivered: OnceLock<Arc<Delivered>>,
}

impl Reporter {
    pub fn new(listener: Listener) -> Self {
        Self { listener, run_dir: OnceLock::new(), delivered: OnceLock::new() }
    }

    /// Also writes all further events to the log of the run.
    pub fn log_to(&self, run_dir: &Arc<RunDir>) {
        // A run has one log, so this is set once.
        let _second = self.run_dir.set(Arc::clone(run_dir));
    }

    /// From now on, removes lines with values of secrets delivered to this machine from the output of other programs.
    pub fn keep_in(&self, root: &Root) {
        let delivered = Arc::new(Delivered::of(root));
        let of_errors = Arc::clone(&delivered);
        process::quote_as(move |line| of_errors.without(line).to_owned());
        // A run is about one machine, so this is set once.
        let _second = self.delivered.set(delivered);
    }

    /// Returns an output line of another program without delivered values.
    pub fn without(&self, line: &str) -> String {
        self.delivered.get().map_or(line, |delivered| delivered.without(line)).to_owned()
    }

    pub fn step(&self, text: impl Into<String>) {
        self.tell(&HostEvent::Step { text: text.into() });
    }

    /// Reports an output line of the system's own programs.
    pub fn said(&self, text: &str) {
        if !text.trim().is_empty() {
            self.tell(&HostEvent::Said { text: self.without(text) });
        }
    }

    /// Reports a problem that does not stop the run.
    pub fn warn(&self, text: impl Into<String>) {
        self.tell(&HostEvent::Warning { text: text.into() });
    }

    pub fn tell(&self, told: &HostEvent) {
        if let Some(run_dir) = self.run_dir.get() {
            run_dir.log(told);
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
