//! What a deployer and the program on the host say to each other: one request in, events out, one JSON object a line. The
//! same for this machine and, over SSH, for others. Versioned: a newer request is refused.

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

/// The version of the form that this program writes and reads.
pub const VERSION: u32 = 1;
/// The longest time that a host waits for anything, in seconds.
pub const LONGEST: u64 = 3600;

/// What the program on the host should do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRequest {
    pub version: u32,
    /// Names this run, also its log and result on the host.
    pub run: String,
    /// Who asked for it: `user@machine`.
    pub who: String,
    pub root: PathBuf,
    /// The host's name in the policy, where it is known.
    pub host: Option<HostName>,
    #[serde(rename = "work")]
    pub command: HostCommand,
}

impl HostRequest {
    /// The words that name the machine in a command, each with a space before it.
    pub fn words(&self) -> String {
        words(self.host.as_ref(), &self.root)
    }
}

/// Whether a text can name a run. It becomes the name of files on the host, beside the journal.
pub fn is_run(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(plain) && text != "journal"
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostCommand {
    /// Make a system the running one.
    Switch(Box<Switch>),
    /// Finish or take back what an interrupted run left, and nothing else.
    Recover,
    /// Say how the machine is. Needs no root.
    Survey(Question),
    /// List the systems that the machine can go back to. Needs no root.
    Generations,
    /// Look at these checks, and hold what is installed against the manifest of the running system.
    Verify(Vec<Look>),
    /// Tell again what a run reported, and go on with it to its end.
    Follow(String),
    /// Say what `doctor` judges. Needs no root.
    Examine,
}

/// A system to be made the running one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    pub action: Action,
    /// The system's store path: the very one that was shown.
    pub system: String,
    /// What becomes of the system profile.
    pub profile: Profile,
    /// The system that was running when the plan was made. Another one now: the plan no longer holds.
    pub expected: Option<String>,
    /// Whether it can be activated live. If not, it becomes what boots next, and no more.
    pub live: bool,
    /// Store path of a manifest with its sealed files, for a system that carries none.
    pub bundle: Option<String>,
    /// What is looked at before and after.
    pub checks: Vec<Look>,
    /// For how many seconds a check that got worse may recover.
    pub settle: u64,
    pub engine: Engine,
    /// The commit that the system was built from.
    pub commit: Option<String>,
    /// For how many seconds the host waits, once all is done, for the deployer to come back over a new connection; it
    /// goes back if nobody comes. None: nobody has to.
    pub acknowledge: Option<u64>,
    /// The specialisation of the system that is activated; the system itself is what boots. None: the system itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<String>,
    /// Where /etc/nixos should lead once all is well; none: it stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whether values stay that are newer than those of the system, where its secrets take them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_values: bool,
    /// The homes that are switched after the system, each as its user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<Home>,
    /// Whether only they are: the system is the one that runs, and is left alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_homes: bool,
}

/// What becomes of the system profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// It gets a new generation, unless its newest is the same system.
    New,
    /// It is set to this generation, which exists.
    Generation(u64),
}

/// A declared check with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Its name in the policy.
    pub name: String,
    pub probe: Probe,
}

/// What the program on the host tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum HostEvent {
    Step {
        text: String,
    },
    /// A line of the system's own programs.
    Said {
        text: String,
    },
    /// Something is wrong, and the work goes on.
    Warning {
        text: String,
    },
    /// The system is active, and the host takes the acknowledgement, for so many seconds from now on.
    Awaits {
        seconds: u64,
    },
    /// The machine is going down in the middle of the work, and its next boot goes on with it. The last event.
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
    /// What a line of the program on a host tells; none where it is no event. A host may tell anything: every text in it is
    /// one line by now, in which nothing acts, and no longer than anybody needs.
    pub fn heard(line: &str) -> Option<Self> {
        let value = serde_json::from_str(line).ok()?;
        serde_json::from_value(foreign::told(value)).ok()
    }

    /// What of it may be written down, where that is not all.
    pub fn kept(&self) -> Option<Self> {
        match self {
            HostEvent::End(result) if result.failure.is_some() => Some(HostEvent::End(result.kept())),
            _ => None,
        }
    }
}

/// What was found when a machine was verified.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Verified {
    /// Each check by name, with what is wrong, if anything.
    pub checks: BTreeMap<String, Option<String>>,
    /// Each secret of the running system's manifest by name, with what is wrong with the delivered one, if anything.
    pub secrets: BTreeMap<String, Option<String>>,
}

/// What the work came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeployResult {
    pub outcome: Outcome,
    /// The generation of the system profile that is current now.
    pub generation: Option<u64>,
    /// The system that is running now.
    pub running: Option<String>,
    /// Whether the delivered secrets last only until the next reboot.
    #[serde(default)]
    pub until_reboot: bool,
    /// Why it is not what was asked for.
    pub failure: Option<Failure>,
}

impl DeployResult {
    /// What of it may be written down: not what units wrote to the journal.
    #[must_use]
    pub fn kept(&self) -> Self {
        Self { failure: self.failure.clone().map(|failure| failure.with_journal(&[])), ..self.clone() }
    }
}

/// How many failures of one host are shown, and how many lines of the causes of each.
const FAILURES: usize = 200;
const CAUSES: usize = 20;
/// How many lines of journals are shown besides.
const JOURNAL: usize = 40;

/// An error on its way from the host.
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
    /// The last lines of the journals of units that failed. They are shown on the deployer, and kept in no record.
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
    /// What went wrong and why, in one line, with each of its parts.
    pub fn reason(&self) -> String {
        let whole: Vec<&str> = std::iter::once(&self.message).chain(&self.causes).map(String::as_str).collect();
        let parts: Vec<String> = self.parts.iter().take(FAILURES).map(Self::reason).collect();
        if parts.is_empty() { whole.join(": ") } else { format!("{}: {}", whole.join(": "), parts.join("; ")) }
    }

    /// The same with what units wrote to the journal.
    #[must_use]
    pub fn with_journal(self, lines: &[String]) -> Self {
        Self { journal: lines.to_vec(), ..self }
    }

    /// The error as it was on the host.
    pub fn into_error(self) -> Error {
        self.within(&mut FAILURES.saturating_sub(1))
    }

    /// The same, with as many parts as may be shown.
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

    /// What the program of 0.1 said, one line for each kind of answer; recorded on machines of the tests in November 2026. A field
    /// that came later is one that an older host does not send, and so may be missing here.
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
        // A host of before says nothing of journals.
        assert!(!line.contains("journal"));
    }
}
