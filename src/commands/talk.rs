//! The events that a verb reports while it works, and the questions it may ask.

use secrecy::SecretString;

use crate::adapters::prompt::Ask;
use crate::domain::line::Line;
use crate::domain::name::HostName;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// An event that a verb reports while it works.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something the user should know, though nothing failed.
    Note(String),
    /// A problem that does not stop the verb.
    Warning(String),
    /// A step of longer work begins.
    Step(String),
    /// What is being done, how many are done, and how many there are.
    Progress(&'static str, usize, usize),
    /// Shown last, after the result of the verb.
    Last(String),
    /// The number of bytes scanned so far; the total is unknown.
    Scanned(u64),
    /// The plan of a deploy, as lines to show.
    Plan(Vec<Line>),
    /// An event of one host among several.
    Of(HostName, Box<Event>),
}

impl Event {
    /// Returns what to print without a terminal: the text, and whether it is a warning.
    pub fn printed(self) -> Option<(String, bool)> {
        match self {
            Event::Note(text) | Event::Step(text) => Some((text, false)),
            Event::Warning(text) => Some((text, true)),
            Event::Progress(..) | Event::Scanned(_) | Event::Last(_) | Event::Plan(_) => None,
            Event::Of(_, event) => event.printed(),
        }
    }
}

/// The user, or a program, that receives the events.
pub trait Talk: Ask {
    fn event(&self, event: Event);

    /// Returns a new value from the user, typed twice without echo. Fails if nobody can be asked.
    fn new_value(&self, name: &str) -> Result<Plaintext> {
        Err(Error::failed(format!("there is nobody to ask for the value of {name}")))
    }

    /// Returns a new passphrase for `what`, typed twice without echo and never empty. Fails if nobody can be asked.
    fn new_passphrase(&self, what: &str) -> Result<SecretString> {
        Err(Error::failed(format!("there is nobody to ask for a passphrase for {what}")))
    }
}
