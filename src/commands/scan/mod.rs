//! `scan`: searches for plaintext in the work tree and the index, in staged changes, in the history, or in the closure
//! of a system. The report always lists what could not be scanned.

mod history;
pub mod hook;
pub mod index;
mod named;
mod scanner;
mod staged;
mod store;
mod tree;
mod values;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;

use crate::adapters::git::Git;
use crate::adapters::signals;
use crate::commands::scan::scanner::Raw;

use crate::commands::talk::{Event, Talk};
use crate::domain::address::quoted;
use crate::domain::policy::allow::Allow;
use crate::domain::policy::{FILE, Policy};
use crate::domain::scan::finding::shown;
use crate::domain::scan::source_rule::PLACE;
use crate::domain::scan::variants::Gathered;
use crate::domain::scan::{Engine, Finding, Place};
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Kind, Result};

pub use crate::commands::scan::scanner::{NotRead, Out};
pub use crate::commands::scan::store::Which;
pub use crate::commands::scan::values::{Known, known};

/// How often progress is reported.
const TICK: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
pub enum Where {
    /// The work tree and the index.
    Tree,
    /// What the next commit would add.
    Staged,
    /// Every blob of the repository, or those that a range of commits added.
    History(Option<String>),
    /// The closure of a system.
    Store(Which),
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// How many files, objects and links were scanned.
    pub files: u64,
    pub bytes: u64,
    /// How many values of the fleet were searched for. None if neither an identity nor the key of their index was
    /// available.
    pub values: Option<usize>,
    /// Whether the index was used for that.
    pub by_index: bool,
    /// Secrets whose values are too short to search for.
    pub too_short: Vec<String>,
    /// The findings, worst first.
    pub findings: Vec<Finding>,
    /// How many more findings there are than listed.
    pub more: usize,
    /// How many findings are allowed by an entry or a remark.
    pub allowed: usize,
    /// Entries and remarks that no longer allow anything.
    pub stale: Vec<String>,
    /// What could not be scanned, and why.
    pub not_looked_at: Vec<NotRead>,
    /// How many findings are only in objects that no commit reaches.
    pub unreachable: usize,
    /// How many store paths were skipped because they come from a cache.
    pub left_out: usize,
}

impl Report {
    /// Returns the error kind for the exit code.
    pub fn kind(&self) -> Option<Kind> {
        if !self.findings.is_empty() {
            Some(Kind::Plaintext)
        } else if self.not_looked_at.is_empty() {
            None
        } else {
            Some(Kind::Incomplete)
        }
    }
}

/// Scans one place.
///
/// Fails only if the scan itself fails. Findings, and what could not be scanned, are in the report.
pub fn run(
    root: &Path,
    policy: Option<&Policy>,
    known: Known,
    place: &Where,
    talk: Option<&dyn Talk>,
) -> Result<Report> {
    let (engine, names, mut report, unopened) = prepared(known);
    let mut top = None;
    let look = || -> Result<Out> {
        match place {
            Where::Tree => {
                let git = git(root)?;
                let mut out = tree::look(&git, &engine)?;
                named::settle(&git, &engine, &mut out);
                top = Some(git.top);
                Ok(out)
            }
            Where::Staged => {
                let git = git(root)?;
                let mut out = staged::look(&git, &engine)?;
                named::settle(&git, &engine, &mut out);
                Ok(out)
            }
            Where::History(range) => {
                let git = git(root)?;
                let (mut out, unreachable) = history::look(&git, &engine, range.as_deref())?;
                named::settle(&git, &engine, &mut out);
                report.unreachable = unreachable;
                Ok(out)
            }
            Where::Store(which) => {
                let (out, left_out) = store::look(&engine, which)?;
                report.left_out = left_out;
                Ok(out)
            }
        }
    };
    let looked = watched(&engine, talk, look);
    // Ctrl-C ends git too, so its failure is not the one to report.
    signals::check()?;
    let out = looked?;
    let allowed = policy.map_or(&[][..], |policy| &policy.allowed);
    told(&mut report, &out, &names, allowed, top.as_deref());
    report.not_looked_at.extend(unopened);
    report.not_looked_at.sort();
    report.not_looked_at.dedup();
    Ok(report)
}

/// Returns problems for staged plaintext. `deploy` uses this because Nix copies staged files into the store before they
/// are committed.
pub fn staged_problems(git: &Git, policy: &Policy) -> Vec<Error> {
    let report = match run(&git.top, Some(policy), Known::default(), &Where::Staged, None) {
        Ok(report) => report,
        Err(error) => return vec![error],
    };
    let problem = |finding: &Finding| {
        let text = format!("{}:{}: {} is staged ({})", finding.path, finding.line, finding.what, finding.rule);
        Error::new(Kind::Plaintext, text).help(finding.help.clone())
    };
    report.findings.iter().map(problem).collect()
}

/// Returns the report of a commit on a branch without a fleet in this directory. None if the index has a fleet there.
pub fn without_a_fleet(git: &Git, directory: &Path) -> Result<Option<Report>> {
    let file = git.relative(&directory.join(FILE))?;
    if git.objects(&[format!(":{file}")])?.iter().any(Option::is_some) {
        return Ok(None);
    }
    let why = format!("{file} is not there: this branch has no fleet");
    Ok(Some(Report { not_looked_at: vec![NotRead { path: "this commit".to_owned(), why }], ..Report::default() }))
}

/// Returns where values to be sealed are already in plaintext, in the work tree or the index. Empty if the scan fails:
/// sealing continues.
pub fn standing<'a>(root: &Path, values: impl IntoIterator<Item = (&'a str, &'a Plaintext)>) -> Vec<String> {
    let mut gathered = Gathered::default();
    let mut names = Vec::new();
    for (number, (name, value)) in (0..).zip(values) {
        gathered.add(number, value);
        names.push(name.to_owned());
    }
    let Ok(index) = values::indexed(gathered) else { return Vec::new() };
    let known = Known { values: Some(index), names, ..Known::default() };
    let Ok(report) = run(root, None, known, &Where::Tree, None) else { return Vec::new() };
    let place = |finding: &Finding| {
        let secret = finding.secret.as_ref()?;
        Some(format!("the value of {secret} stands in the clear in {}:{}", finding.path, finding.line))
    };
    report.findings.iter().filter_map(place).collect()
}

fn git(root: &Path) -> Result<Git> {
    Git::find(root)?.ok_or_else(|| {
        Error::usage(format!("{} is not in a git repository", root.display()))
            .help("scan looks at what git tracks, and at what it would add")
    })
}

/// Scans these store paths, for `deploy` before it copies them to a host.
pub fn of_store_paths(policy: &Policy, known: Known, paths: &[String], talk: &dyn Talk) -> Result<Report> {
    let (engine, names, mut report, unopened) = prepared(known);
    let out = watched(&engine, Some(talk), || store::paths(&engine, paths))?;
    signals::check()?;
    told(&mut report, &out, &names, &policy.allowed, None);
    report.not_looked_at.extend(unopened);
    Ok(report)
}

/// Runs the scan and reports its progress meanwhile.
fn watched<T>(engine: &Engine, talk: Option<&dyn Talk>, work: impl FnOnce() -> T) -> T {
    let Some(talk) = talk else { return work() };
    std::thread::scope(|scope| {
        let (working, over) = mpsc::channel::<()>();
        scope.spawn(move || {
            while over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                talk.event(Event::Scanned(engine.looked()));
            }
        });
        let done = work();
        drop(working);
        done
    })
}

/// Returns the engine, the names of the secrets, an initial report, and the values that are not searched for.
fn prepared(known: Known) -> (Engine, Vec<String>, Report, Vec<NotRead>) {
    let Known { values, names, too_short, unopened, .. } = known;
    let report = Report {
        values: values.is_some().then_some(names.len()),
        by_index: values.as_ref().is_some_and(|index| index.is_read),
        too_short,
        ..Report::default()
    };
    (Engine::new(values), names, report, unopened)
}

/// The help for a finding in the history: removing it from the work tree is not enough.
const COMMITTED: &str =
    "everyone with a clone has it, so it needs a new value, also where the file is clean by now; where it is not: ";

/// Fills the report: removes allowed findings, and describes the others without their values.
fn told(report: &mut Report, out: &Out, names: &[String], allowed: &[Allow], top: Option<&Path>) {
    report.files = out.files;
    report.bytes = out.bytes;
    report.more = out.more;
    report.allowed = out.allowed;
    let mut used = BTreeSet::new();
    for raw in &out.raw {
        let entry = allowed.iter().position(|allow| allow.covers(raw.hit.rule.id, &raw.path));
        if let Some(entry) = entry {
            used.insert(entry);
            report.allowed += 1;
        } else {
            report.findings.push(finding(raw, names));
        }
    }
    report.findings.sort();
    report.findings.dedup();
    report.not_looked_at =
        out.blind.iter().map(|(path, why)| NotRead { path: shown(path), why: why.clone() }).collect();
    // Only a scan of the whole work tree can tell which entries are stale.
    if top.is_some() {
        for (path, remark) in out.remarks.iter().filter(|(_, remark)| !remark.used) {
            let text = format!(
                "{}:{}: the remark allows {}, and nothing of that kind is there",
                shown(path),
                remark.line,
                remark.rule
            );
            report.stale.push(text);
        }
        for (_, allow) in allowed.iter().enumerate().filter(|(entry, _)| !used.contains(entry)) {
            // An entry for a missing file may still be needed for the history.
            let one_file = !allow.path.contains('*') && !allow.path.ends_with('/');
            if !one_file || top.is_some_and(|top| top.join(&allow.path).symlink_metadata().is_ok()) {
                report.stale.push(format!(
                    "recipients.toml:{}: it allows {} in {}, and nothing of that kind is there",
                    allow.line, allow.rule, allow.path
                ));
            }
        }
        report.stale.sort();
    }
}

fn finding(raw: &Raw, names: &[String]) -> Finding {
    let Raw { hit, .. } = raw;
    let secret = hit.secret.and_then(|number| names.get(number as usize)).cloned();
    let committed = matches!(raw.place, Place::History { .. });
    Finding {
        weight: hit.rule.weight,
        rule: hit.rule.id,
        path: raw.shown_path(),
        line: hit.line,
        column: hit.column,
        length: hit.span.end - hit.span.start,
        member: raw.member.clone(),
        place: raw.place.clone(),
        what: match (&hit.wording, &secret) {
            (Some(told), None) => told.what.clone(),
            _ => Finding::told(hit.rule, secret.as_deref()),
        },
        help: match &secret {
            Some(secret) => format!("take it out, and give {secret} a new value: `sealift rotate {secret}`"),
            None if committed => format!("{COMMITTED}{}", hit.rule.help),
            None => match &hit.wording {
                Some(told) if raw.hidden.is_empty() && raw.member.is_none() && raw.place != Place::Store => {
                    told.help.replace(PLACE, &quoted(&format!("{}:{}", raw.shown_path(), hit.line)))
                }
                _ => hit.rule.help.to_owned(),
            },
        },
        secret,
        why: hit.rule.why,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use secrecy::SecretString;

    use super::*;
    use crate::adapters::prompt::Ask;

    /// Passes on the progress.
    struct Listener(Mutex<mpsc::Sender<u64>>);

    impl Ask for Listener {
        fn passphrase(&self, _what: &str) -> Result<SecretString> {
            Err(Error::failed("nobody is asked"))
        }
        fn password(&self, _what: &str) -> Result<SecretString> {
            Err(Error::failed("nobody is asked"))
        }
        fn attempts(&self) -> usize {
            0
        }
        fn tell(&self, _message: &str) {}
        fn confirm(&self, _question: &str) -> Result<bool> {
            Ok(false)
        }
    }

    impl Talk for Listener {
        fn event(&self, event: Event) {
            if let Event::Scanned(bytes) = event {
                // The receiver may have ended.
                let _ended = self.0.lock().unwrap().send(bytes);
            }
        }
        fn new_value(&self, _name: &str) -> Result<Plaintext> {
            Err(Error::failed("nobody is asked"))
        }
        fn new_passphrase(&self, _what: &str) -> Result<SecretString> {
            Err(Error::failed("nobody is asked"))
        }
    }

    #[test]
    fn it_is_told_how_much_was_looked_at_while_the_work_goes_on() {
        let (send, told) = mpsc::channel();
        let engine = Engine::new(None);
        let subject = crate::domain::scan::Subject::named(b"a");
        let heard = watched(&engine, Some(&Listener(Mutex::new(send))), || {
            engine.stream(&subject, &[b'x'; 1000][..], &mut Vec::new()).unwrap();
            told.recv().unwrap()
        });
        assert_eq!(heard, 1000);
    }
}
