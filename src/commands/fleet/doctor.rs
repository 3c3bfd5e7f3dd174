//! `doctor`: known faults of a machine, of the repository and of the fleet, each with help. Adapters collect facts and
//! pure rules find faults; this combines them and, on request, applies fixes that lose nothing.

use std::path::Path;

use jiff::civil::Date;
use serde::Serialize;

use crate::adapters::fs::files;
use crate::adapters::fs::root::{EntryKind, Root};
use crate::adapters::git::{Git, layout};
use crate::adapters::host::facts;
use crate::adapters::host::host_key::machine_keys;
use crate::commands::Session;
use crate::commands::hosts::connection::{Target, Transport};
use crate::commands::hosts::identify::this_machine;
use crate::commands::hosts::select::Who;
use crate::domain::doctor::machine::{self, Against, Machine};
use crate::domain::doctor::text::{self, Text};
use crate::domain::doctor::{Fault, Fix, repository, sorted};
use crate::domain::drift::audit::{AuditRule, audit};
use crate::domain::level::Level;
use crate::domain::name::{HostName, HostWord};
use crate::error::{Error, Kind, Result};

pub struct Request<'a> {
    /// The host. None: this machine, and the repository.
    pub host: Option<&'a HostWord>,
    pub who: &'a Who,
    /// The directory whose repository is checked.
    pub directory: &'a Path,
    /// Whether to apply fixes that lose nothing.
    pub fix: bool,
    /// Today, in UTC.
    pub today: Date,
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// The machine that was checked.
    pub machine: String,
    /// The faults, most severe first.
    pub faults: Vec<Fault>,
    pub fixed: Vec<Fault>,
    /// What could not be checked.
    pub not_looked_at: Vec<String>,
}

impl Report {
    /// Returns the error kind for the exit code. A fault is a finding, as in `check`. Without faults it is incomplete
    /// if something could not be checked.
    pub fn kind(&self, strict: bool) -> Option<Kind> {
        let counts = |fault: &Fault| strict || fault.level == Level::Error;
        if self.faults.iter().any(counts) {
            Some(Kind::Drift)
        } else {
            (!self.not_looked_at.is_empty()).then_some(Kind::Incomplete)
        }
    }
}

/// Checks, and fixes on request.
pub fn run(session: Option<&Session>, request: &Request<'_>) -> Result<Report> {
    let (target, host) = reached(session, request)?;
    let examined = examined(&target, request)?;
    // A machine that is in no fleet gets its own name.
    let itself = target.survey.host_name.as_str();
    let name = host
        .as_ref()
        .map_or_else(|| if itself.is_empty() { target.shown() } else { itself.to_owned() }, ToString::to_string);
    let pins = session.zip(host.as_ref()).and_then(|(session, host)| session.fleet.policy.hosts.get(host));
    let git = if request.host.is_none() { Git::find(request.directory) } else { Ok(None) };
    let (git, gathered) = match git {
        Ok(git) => {
            let gathered = git.as_ref().map(layout::gather).transpose()?;
            (git, gathered)
        }
        // If git refuses the repository, that is the fault to report.
        Err(error) => (None, Some(layout::foreign(request.directory).ok_or(error)?)),
    };
    let against = Against {
        machine: &examined,
        name: &name,
        pins: pins.map(|host| host.ssh_keys.as_slice()),
        clock: target.is_remote().then(|| jiff::Timestamp::now().as_second()),
        committed: gathered.as_ref().and_then(|gathered| gathered.committed),
    };
    let mut faults = machine::faults(&against);
    faults.extend(gathered.iter().flat_map(of_repository));
    let not_looked_at = gathered.map_or_else(Vec::new, |gathered| gathered.not_looked_at);
    if let Some(session) = session {
        faults.extend(overdue(session, request, host.as_ref().filter(|_| request.host.is_some()))?);
    }
    if target.is_remote() {
        // Nothing is changed on another machine.
        faults.iter_mut().for_each(|fault| fault.fix = None);
    }
    let mut report = Report { machine: name, faults: sorted(faults), fixed: Vec::new(), not_looked_at };
    if request.fix {
        help(&mut report, &target, git.as_ref())?;
    }
    Ok(report)
}

/// Returns the machine to check, and its name in the policy.
fn reached(session: Option<&Session>, request: &Request<'_>) -> Result<(Target, Option<HostName>)> {
    let Some(host) = request.host else {
        let root = Root::open(&request.who.root)?;
        let here = session.and_then(|session| this_machine(&session.fleet.policy, &root, None).ok());
        let target = Target::here(root, here.clone())?;
        // A machine with a changed key is still found by its name.
        let called = session.and_then(|session| session.fleet.policy.called(&target.survey.host_name).cloned());
        return Ok((target, here.or(called)));
    };
    let Some(session) = session else {
        return Err(Error::usage(format!("there is no fleet here that would say where {host} is"))
            .help("name it with `--fleet DIR`, or look at this machine: `sealift doctor`"));
    };
    let policy = &session.fleet.policy;
    let host = policy.named(host)?;
    // A key other than the pinned one is a finding here, and must not stop the check.
    if request.who.root.as_os_str() != "/" {
        return Ok((Target::here(Root::open(&request.who.root)?, Some(host.clone()))?, Some(host.clone())));
    }
    let ssh = request.who.ssh(policy)?;
    Ok((Target::of(policy, host, &ssh, &request.who.caller, None, false)?, Some(host.clone())))
}

fn examined(target: &Target, request: &Request<'_>) -> Result<Machine> {
    if let Transport::Local(root) = &target.transport {
        return Ok(facts::machine(root, machine_keys(root)));
    }
    target.examine(&request.who.caller)
}

fn of_repository(gathered: &layout::Gathered) -> Vec<Fault> {
    let mut faults = repository::faults(&gathered.repository);
    for (path, text) in &gathered.texts {
        let has_home_configurations = gathered.has_home_configurations;
        faults.extend(text::faults(&Text { path, text, has_home_configurations }));
    }
    faults
}

/// Returns the overdue values of the host or of the whole fleet. The other findings of `check` are left to that verb.
fn overdue(session: &Session, request: &Request<'_>, named: Option<&HostName>) -> Result<Vec<Fault>> {
    let policy = &session.fleet.policy;
    let of_host = |about: &str| {
        named.is_none_or(|host| {
            policy.wanted().values().any(|wanted| wanted.file.path() == about && wanted.hosts.contains(&host))
        })
    };
    let found = audit(policy, &policy.keys(), &session.fleet.inventory()?, request.today);
    let found = found.into_iter().filter(|finding| finding.rule == AuditRule::Overdue && of_host(&finding.about));
    Ok(found
        .map(|finding| Fault {
            level: finding.level,
            rule: "secret-overdue",
            about: finding.about,
            what: finding.what,
            help: finding.help,
            fix: None,
        })
        .collect())
}

/// Applies the fixes that lose nothing, and moves their faults to `fixed`.
fn help(report: &mut Report, target: &Target, git: Option<&Git>) -> Result<()> {
    let mut failures = Vec::new();
    for fault in std::mem::take(&mut report.faults) {
        let Some(fix) = &fault.fix else {
            report.faults.push(fault);
            continue;
        };
        match apply(fix, target, git) {
            Ok(true) => report.fixed.push(fault),
            Ok(false) => report.faults.push(fault),
            Err(error) => {
                failures.push(error.about(&fault.about));
                report.faults.push(fault);
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let some = !report.fixed.is_empty();
    let all = Error::batch(format!("{} faults could not be fixed", failures.len()), failures);
    Err(if some { all.of_kind(Kind::Partial) } else { all })
}

/// Applies a fix. Returns false if it cannot be done from here.
fn apply(fix: &Fix, target: &Target, git: Option<&Git>) -> Result<bool> {
    match (fix, git, &target.transport) {
        (Fix::Track(paths), Some(git), _) => git.intend(paths).map(|()| true),
        (Fix::RemoveResult(path), Some(git), _) => {
            let path = git.top.join(path);
            // It may have been replaced since.
            let link = std::fs::symlink_metadata(&path).is_ok_and(|there| there.is_symlink());
            if link { files::remove(&path).map(|()| true) } else { Ok(false) }
        }
        (Fix::RemoveLink(path), _, Transport::Local(root)) if root.kind(path) == Some(EntryKind::Link) => {
            let (above, _) = path.rsplit_once('/').unwrap_or_default();
            root.writable(above)?;
            files::remove(&root.outside(path)).map_err(|error| error.help("run it as root"))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
