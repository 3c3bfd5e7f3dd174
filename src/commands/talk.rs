//! What a verb tells while it works, and what it may ask.

use secrecy::SecretString;

use crate::adapters::prompt::Ask;
use crate::domain::line::Line;
use crate::domain::name::HostName;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// What a verb tells while it works.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something a person should know, though nothing failed.
    Note(String),
    /// Something is wrong, and the verb goes on.
    Warning(String),
    /// A step of longer work begins.
    Step(String),
    /// So many of so many are done, and what is done.
    Progress(&'static str, usize, usize),
    /// What is to be said last, after what came of the verb.
    Last(String),
    /// So many bytes were looked at; how many there are is not known.
    Scanned(u64),
    /// The plan of a deploy, as it is read.
    Plan(Vec<Line>),
    /// Something of one host among several.
    Of(HostName, Box<Event>),
}

impl Event {
    /// What is printed of it where there is no person: the text, and whether it is a warning.
    pub fn printed(self) -> Option<(String, bool)> {
        match self {
            Event::Note(text) | Event::Step(text) => Some((text, false)),
            Event::Warning(text) => Some((text, true)),
            Event::Progress(..) | Event::Scanned(_) | Event::Last(_) | Event::Plan(_) => None,
            Event::Of(_, event) => event.printed(),
        }
    }
}

/// The person, or program, that a verb talks to.
pub trait Talk: Ask {
    fn event(&self, event: Event);

    /// A new value from the person, typed without echo, twice. Where nobody can be asked it fails.
    fn new_value(&self, name: &str) -> Result<Plaintext> {
        Err(Error::failed(format!("there is nobody to ask for the value of {name}")))
    }

    /// A new passphrase for `what`, typed without echo, twice; never an empty one. Where nobody can be asked it fails.
    fn new_passphrase(&self, what: &str) -> Result<SecretString> {
        Err(Error::failed(format!("there is nobody to ask for a passphrase for {what}")))
    }
}
