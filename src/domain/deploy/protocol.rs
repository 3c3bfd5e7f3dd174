//! The protocol between a deployer and the program on the host: one request in, events out, one JSON object per line.
//! The same for this machine and, over SSH, for others. Versioned: a newer request is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::address::words;
use crate::domain::deploy::diff::Action;
pub use crate::domain::deploy::diff::Outcome;
use crate::domain::deploy::generations::Generations;
use crate::domain::deploy::home::Home;
use crate::domain::deploy::host_facts::{Question, Survey};
use crate::domain::doctor::machine::Machine;
use crate::domain::foreign;
use crate::domain::name::HostName;
use crate::domain::policy::{Engine, Probe};
use crate::error::{Error, Kind};

/// The version of the format that this program writes and reads.
pub const VERSION: u32 = 1;
/// The longest time that a host waits for anything, in seconds.
pub const LONGEST: u64 = 3600;

/// A request to the program on the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRequest {
    pub version: u32,
    /// The run's identifier, also in the names of its log and its result on the host.
    pub run: String,
    /// Who requested it: `user@machine`.
    pub who: String,
    pub root: PathBuf,
    /// The host's name in the policy, if known.
    pub host: Option<HostName>,
    #[serde(rename = "work")]
    pub command: HostCommand,
}

impl HostRequest {
    /// The options that name the machine in a command line, each preceded by a space.
    pub fn words(&self) -> String {
        words(self.host.as_ref(), &self.root)
    }
}

/// Whether a string can be a run identifier. It is used in names of files on the host, next to the journal.
pub fn is_run(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(plain) && text != "journal"
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostCommand {
    /// Activate a system.
    Switch(Box<Switch>),
    /// Only finish or undo what an interrupted run left behind.
    Recover,
    /// Report the state of the machine. Needs no root.
    Survey(Question),
    /// List the generations that the machine can roll back to. Needs no root.
    Generations,
    /// Run these checks, and compare what is installed with the manifest of the running system.
    Verify(Vec<Look>),
    /// Report again what a run reported so far, and follow it to its end.
    Follow(String),
    /// Report what `doctor` evaluates. Needs no root.
    Examine,
}

/// A system to activate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    pub action: Action,
    /// The system's store path, exactly as shown in the plan.
    pub system: String,
    /// What happens to the system profile.
    pub profile: Profile,
    /// The system that was running when the plan was made. If another one is running now, the plan is no longer valid.
    pub expected: Option<String>,
    /// Whether it can be activated live. If not, it only becomes the boot default.
    pub live: bool,
    /// Store path of a manifest with its sealed files, for a system that carries none.
    pub bundle: Option<String>,
    /// The checks to run before and after.
    pub checks: Vec<Look>,
    /// How many seconds a check that got worse has to recover.
    pub settle: u64,
    pub engine: Engine,
    /// The commit that the system was built from.
    pub commit: Option<String>,
    /// How many seconds the host waits, once the switch is done, for the deployer to reconnect. It rolls back if nobody
    /// does. `None`: no acknowledgement is needed.
    pub acknowledge: Option<u64>,
    /// The specialisation to activate, while the system itself becomes the boot default. `None`: the system itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<String>,
    /// The new target of /etc/nixos once the deploy succeeded; `None` leaves it unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whether to deliver, until the next reboot, the newest values that the host's key opens in place of the system's
    /// own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_values: bool,
    /// The homes to switch after the system, each as its user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<Home>,
    /// Whether only homes are switched: `system` is the running one and is left unchanged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_homes: bool,
}

/// What happens to the system profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Add a new generation, unless the newest one is the same system.
    New,
    /// Set it to this existing generation.
    Generation(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Its name in the policy.
    pub name: String,
    pub probe: Probe,
}

/// An event from the program on the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum HostEvent {
    Step {
        text: String,
    },
    /// A line of output from the system's own programs.
    Said {
        text: String,
    },
    /// Something is wrong, but the work continues.
    Warning {
        text: String,
    },
    /// The system is active, and the host accepts the acknowledgement for this many seconds.
    Awaits {
        seconds: u64,
    },
    /// The machine is shutting down during the work, which continues at the next boot. The last event.
    GoesDown,
    /// The answer to `Survey`. The last event.
    Survey(Box<Survey>),
    /// The answer to `Generations`. The last event.
    Generations(Generations),
    /// The answer to `Verify`. The last event.
    Verified(Verified),
    /// The answer to `Examine`. The last event.
    Examined(Box<Machine>),
    /// The work is over. The last event.
    End(DeployResult),
}

impl HostEvent {
    /// Parses a line from the program on a host; `None` if it is not an event. A host is not trusted: every string in
    /// it is cut to a sensible length and made one line without control characters.
    pub fn heard(line: &str) -> Option<Self> {
        let value = serde_json::from_str(line).ok()?;
        serde_json::from_value(foreign::told(value)).ok()
    }

    /// The version of this event that may be written to disk, if it differs from the event itself.
    pub fn kept(&self) -> Option<Self> {
        match self {
            HostEvent::End(result) if result.failure.is_some() => Some(HostEvent::End(result.kept())),
            _ => None,
        }
    }
}

/// The result of verifying a machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Verified {
    /// Every check by name, with the problem found, if any.
    pub checks: BTreeMap<String, Option<String>>,
    /// Every secret of the running system's manifest by name, with the problem of the delivered one, if any.
    pub secrets: BTreeMap<String, Option<String>>,
}

/// The result of a deploy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeployResult {
    pub outcome: Outcome,
    /// The current generation of the system profile.
    pub generation: Option<u64>,
    /// The system now running.
    pub running: Option<String>,
    /// Whether the delivered secrets last only until the next reboot.
    #[serde(default)]
    pub until_reboot: bool,
    /// Why the outcome is not the requested one.
    pub failure: Option<Failure>,
}

impl DeployResult {
    /// The part of it that may be written to disk: without what units wrote to the journal.
    #[must_use]
    pub fn kept(&self) -> Self {
        Self { failure: self.failure.clone().map(|failure| failure.with_journal(&[])), ..self.clone() }
    }
}

/// How many failures of one host are shown, and how many cause lines for each.
const FAILURES: usize = 200;
const CAUSES: usize = 20;
/// How many journal lines are shown in addition.
const JOURNAL: usize = 40;

/// An error as sent by the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    code: u8,
    message: String,
    #[serde(default)]
    causes: Vec<String>,
    /// What to do about it.
    #[serde(rename = "mend")]
    help: Option<String>,
    /// The failures of a batch.
    #[serde(default)]
    parts: Vec<Failure>,
    /// The last journal lines of failed units. They are shown on the deployer, but never recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    journal: Vec<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            causes.extend(source.to_string().lines().map(str::to_owned));
            cause = source.source();
        }
        Self {
            code: error.kind().code(),
            message: error.message().to_owned(),
            causes,
            help: error.advice().map(str::to_owned),
            parts: error.parts().iter().map(Failure::from).collect(),
            journal: Vec::new(),
        }
    }
}

impl Failure {
    /// The error and its causes in one line, followed by its parts.
    pub fn reason(&self) -> String {
        let whole: Vec<&str> = std::iter::once(&self.message).chain(&self.causes).map(String::as_str).collect();
        let parts: Vec<String> = self.parts.iter().take(FAILURES).map(Self::reason).collect();
        if parts.is_empty() { whole.join(": ") } else { format!("{}: {}", whole.join(": "), parts.join("; ")) }
    }

    /// Adds what units wrote to the journal.
    #[must_use]
    pub fn with_journal(self, lines: &[String]) -> Self {
        Self { journal: lines.to_vec(), ..self }
    }

    /// Converts it back to the error as it was on the host.
    pub fn into_error(self) -> Error {
        self.within(&mut FAILURES.saturating_sub(1))
    }

    /// Likewise, with at most `left` more parts.
    fn within(mut self, left: &mut usize) -> Error {
        let kind = Kind::from_code(self.code);
        let mut parts = Vec::new();
        for part in self.parts {
            let Some(fewer) = left.checked_sub(1) else { break };
            *left = fewer;
            parts.push(part.within(left));
        }
        let mut error = Error::all(kind, self.message, parts);
        self.causes.truncate(CAUSES);
        self.causes.extend(self.journal.into_iter().take(JOURNAL));
        if !self.causes.is_empty() {
            error = error.because(self.causes.join("\n"));
        }
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_tells_is_one_line_and_its_failures_are_few() {
        fn count(error: &Error) -> (usize, usize) {
            let lines = std::error::Error::source(error).map_or(0, |cause| cause.to_string().lines().count());
            error.parts().iter().map(count).fold((1, lines), |all, one| (all.0 + one.0, all.1 + one.1))
        }
        let told = |text: &str| format!("{{\"event\":\"step\",\"text\":{}}}", serde_json::to_string(text).unwrap());
        match HostEvent::heard(&told("x\ndb: done\u{9b}2J")) {
            Some(HostEvent::Step { text }) => assert_eq!(text, "x\\ndb: done\\u{9b}2J"),
            other => panic!("{other:?}"),
        }
        let lines = vec!["unit: line".to_owned(); 100];
        let leaf = || Failure::from(&Error::failed("x").because("y\n".repeat(100))).with_journal(&lines);
        let many = || Failure { parts: (0..30).map(|_| leaf()).collect(), ..leaf() };
        let error = Failure { parts: (0..30).map(|_| many()).collect(), ..leaf() }.into_error();
        assert_eq!(count(&error), (FAILURES, FAILURES * (CAUSES + JOURNAL)));
        assert!(!leaf().reason().contains("unit: line"), "what units write goes into no record");
    }

    /// Output of version 0.1, one line for each kind of answer; recorded on test machines in November 2026. An older
    /// host does not send fields that were added later, so they may be missing here.
    #[test]
    fn what_an_older_host_says_is_understood() {
        let recorded = include_str!("../../../tests/fixtures/protocol/0.1.jsonl");
        let known = ["event", "outcome", "text", "code", "message"];
        let mut without = 0;
        for line in recorded.lines() {
            assert!(HostEvent::heard(line).is_some(), "{line}");
            let whole: serde_json::Value = serde_json::from_str(line).unwrap();
            for place in ["", "/running", "/running/facts", "/running/secrets/0", "/trust", "/failure"] {
                let Some(fields) = whole.pointer(place).and_then(serde_json::Value::as_object) else { continue };
                for field in fields.keys().filter(|field| !known.contains(&field.as_str())) {
                    let mut older = whole.clone();
                    older.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(field);
                    assert!(HostEvent::heard(&older.to_string()).is_some(), "without {place}/{field}: {older}");
                    without += 1;
                }
            }
        }
        assert!(without > 50, "{without}");
    }

    #[test]
    fn an_error_arrives_as_it_was_sent() {
        let parts = vec![Error::integrity("a is damaged").help("restore it"), Error::failed("b").because("c")];
        let sent = Error::batch("2 secrets failed", parts).of_kind(Kind::Integrity);
        let line = serde_json::to_string(&Failure::from(&sent)).unwrap();
        let got = serde_json::from_str::<Failure>(&line).unwrap().into_error();
        assert_eq!(format!("{got:?}"), format!("{sent:?}"));
        assert_eq!(got.parts()[0].advice(), Some("restore it"));
        // An older host sends no journal lines.
        assert!(!line.contains("journal"));
    }
}
