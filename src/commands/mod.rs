//! The verbs: each takes a request and returns a report. They print nothing: events go to a `Talk`, and only the
//! command line prints.

pub mod adopt;
pub mod agent;
pub mod deploy;
pub mod fleet;
pub mod hosts;
#[cfg(target_os = "linux")]
pub mod install;
pub mod lacking;
pub mod past;
pub mod scan;
pub mod secrets;
pub mod talk;
pub mod writer;

use std::sync::Arc;

use jiff::civil::Date;

use crate::adapters::age::Sealer;
use crate::adapters::age::identity::{Identities, Plugins};
use crate::adapters::fs::changes::Changes;
use crate::adapters::fs::transaction::Journal;
use crate::adapters::git::Git;
use crate::adapters::prompt::Ask;
use crate::adapters::repository::Fleet;
use crate::commands::talk::{Event, Talk};
use crate::domain::counted::counted;
use crate::domain::policy::{FILE, parse};
use crate::domain::secret::recipient::Recipient;
use crate::error::Result;

/// What every verb on a fleet needs.
pub struct Session {
    pub fleet: Fleet,
    pub talk: Arc<dyn Talk>,
    /// The plugins that the user allows.
    pub plugins: Plugins,
    /// Finds the identities at the first call and caches them.
    pub identities: Box<dyn Fn() -> Result<Arc<Identities>> + Send + Sync>,
    /// Today, in UTC.
    pub today: Date,
}

impl Session {
    pub fn note(&self, text: impl Into<String>) {
        self.talk.event(Event::Note(text.into()));
    }

    /// Reports a problem that does not stop the verb.
    pub fn warn(&self, text: impl Into<String>) {
        self.talk.event(Event::Warning(text.into()));
    }

    /// Takes the lock for changes of the fleet.
    pub fn lock(&mut self) -> Result<(Git, Journal)> {
        let talk = self.talk.clone();
        self.fleet.lock(|paths| {
            talk.event(Event::Note(format!("completed an interrupted change of {}", counted(paths.len(), "file"))));
        })
    }

    /// Carries out a change of the fleet's files.
    pub fn commit(&self, git: &Git, journal: &Journal, changes: &Changes) -> Result<()> {
        let missed = self.fleet.commit(git, journal, changes)?;
        if missed.is_none() && !changes.is_empty() {
            self.talk.event(Event::Last(staged(&changes.paths())));
        }
        if let Some(error) = missed {
            self.warn(format!("written, but not added to git: {error}; {}", error.advice().unwrap_or_default()));
        }
        Ok(())
    }

    /// Prepares the keys of these recipients for sealing.
    pub fn sealer<'a>(&self, recipients: impl IntoIterator<Item = &'a Recipient>) -> Result<Sealer> {
        let ask: Arc<dyn Ask> = self.talk.clone();
        Sealer::new(recipients, &self.plugins, &ask)
    }

    /// Returns the available identities. Fails if none is usable.
    pub fn identities(&self) -> Result<Arc<Identities>> {
        let identities = (self.identities)()?;
        if identities.is_empty() { Err(identities.none_at_hand()) } else { Ok(identities) }
    }
}

/// Describes files that were staged.
pub fn staged(paths: &[String]) -> String {
    let what = if paths.len() <= 3 { paths.join(", ") } else { counted(paths.len(), "file") };
    format!("staged {what}; to be committed")
}

/// Applies an edited policy to the session and adds it to the changes, if it is valid.
pub fn adopt_policy(session: &mut Session, text: String, changes: &mut Changes) -> Result<()> {
    let policy = parse::parse_edited(&text).map_err(|error| match error.advice() {
        Some(_) => error,
        None => error.help(format!("{FILE} was not changed")),
    })?;
    let before = std::mem::replace(&mut session.fleet.text, text);
    changes.write(FILE, Some(before.as_bytes()), session.fleet.text.clone().into_bytes());
    session.fleet.policy = policy;
    Ok(())
}
