//! `deploy`: makes the fleet's system the one that runs on this machine, with its secrets, or leaves it as it was.
//!
//! Here is the deployer's side: look, build as the caller, plan, ask. What follows is done by the program on the host
//! (`host`), which does not depend on this one any more.

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::handover::{Caller, hand_over};
use self::plan::Plan;
use self::preflight::{Ready, Rights, Wanted};
use super::{Event, Session, Talk};
use crate::adapters::files::{self, Durable};
use crate::adapters::nix::{self, Rooted};
use crate::adapters::rooted::Root;
use crate::adapters::{bench, signals, system};
use crate::error::{Error, Kind, Result};
use crate::fleet::manifest::Manifest;
use crate::fleet::name::{FileName, HostName};
use crate::fleet::order::{Failure, Look, Outcome, Profile, Switch, VERSION, Verdict, Work};
use crate::fleet::policy::Policy;
use crate::fleet::rollout::Action;

mod back;
mod delivery;
pub mod handover;
pub mod host;
mod journal;
pub mod plan;
pub mod preflight;
pub mod survey;
mod teller;
mod transaction;
mod verify;

/// What to deploy.
pub struct Request {
    /// The host; none: the one that this machine is.
    pub host: Option<HostName>,
    /// The machine's root directory.
    pub root: PathBuf,
    /// How far to go.
    pub action: Action,
    /// Do not ask.
    pub yes: bool,
    /// The directory of the flake, if it is not the fleet's.
    pub flake: Option<String>,
    /// For how many seconds a check that got worse may recover.
    pub settle: u64,
    /// Who asks, and with which program.
    pub caller: Caller,
}

/// What a deploy or a rollback came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this form: 1.
    pub version: u32,
    /// The host.
    pub host: Option<HostName>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it is not what was asked for.
    pub reason: Option<String>,
    /// The system that was to come.
    pub system: String,
    /// The system that runs now.
    pub running: Option<String>,
    /// The current generation of the system profile.
    pub generation: Option<u64>,
    /// Whether the delivered secrets last only until the next reboot.
    pub until_reboot: bool,
    /// What was planned; none where nothing was compared.
    pub plan: Option<Plan>,
    /// Names the run: its log is on the host.
    pub run: Option<String>,
    /// Where that log is.
    pub log: Option<String>,
    /// The failure itself, with its hints.
    #[serde(skip)]
    pub failure: Option<Error>,
}

impl Report {
    /// Of something that ended before the host had to do with it.
    fn early(host: &HostName, system: String, outcome: Outcome, plan: Option<Plan>, failure: Option<Error>) -> Self {
        let reason = failure.as_ref().map(|error| error.message().to_owned());
        let until_reboot = false;
        Self {
            version: VERSION,
            host: Some(host.clone()),
            outcome,
            reason,
            system,
            running: None,
            generation: None,
            until_reboot,
            plan,
            run: None,
            log: None,
            failure,
        }
    }

    /// Of what the host told.
    pub fn of(host: Option<HostName>, plan: Plan, run: &str, verdict: Verdict) -> Self {
        Self {
            version: VERSION,
            host,
            outcome: verdict.outcome,
            reason: verdict.failure.as_ref().map(Failure::reason),
            system: plan.system.clone(),
            running: verdict.running,
            generation: verdict.generation,
            until_reboot: verdict.until_reboot,
            plan: Some(plan),
            run: Some(run.to_owned()),
            log: Some(bench::log_of(run)),
            failure: verdict.failure.map(Failure::into_error),
        }
    }
}

/// Deploys.
///
/// # Errors
/// When it ended before a plan was made: nothing was changed. Later failures are in the report.
pub fn run(session: &Session, request: &Request) -> Result<Report> {
    let root = Root::open(&request.root)?;
    let talk = session.talk.as_ref();
    let wanted = Wanted {
        host: request.host.as_ref(),
        flake: request.flake.as_deref(),
        touches: request.action != Action::Build,
        today: session.today,
    };
    talk.event(Event::Step("looking whether all is in place".to_owned()));
    let ready = preflight::look(&session.fleet, &root, &wanted, talk)?;
    let rooted = Rooted::new(&ready.git.directory.join("sealift/roots"))?;
    let system = build(&ready, &rooted, talk)?;
    if request.action == Action::Build {
        return Ok(Report::early(&ready.host, system, Outcome::Done, None, None));
    }
    signals::check()?;
    handover::recover(&root, ready.rights, &request.caller, talk)?;
    let bundle = bring(session, &root, &ready, &rooted, &system)?;
    let manifest = manifest_of(&root, &system, bundle.as_deref());
    if let Some(manifest) = &manifest {
        is_for(&root, manifest, &ready.host)?;
    }
    let plan = Plan::of(&root, Some(&ready.host), request.action, &system, manifest.as_deref())?;
    plan.lines().into_iter().for_each(|line| talk.event(Event::Note(line)));
    if request.action == Action::Test && !plan.live() {
        let error = Error::failed("it cannot be activated without a reboot")
            .because(plan.reboot.blocks.join("\n"))
            .hint("make it what boots next: `--action boot`");
        return Ok(Report::early(&ready.host, system, Outcome::Failed, Some(plan), Some(error)));
    }
    signals::check()?;
    let asks = request.action != Action::DryActivate && !request.yes;
    if asks && !talk.confirm(&format!("Deploy this to {}?", ready.host))? {
        let error = Error::failed("declined; nothing was changed").hint("`--yes` deploys without asking");
        return Ok(Report::early(&ready.host, system, Outcome::Declined, Some(plan), Some(error)));
    }
    let switch = Switch {
        action: request.action,
        system,
        profile: Profile::New,
        expected: plan.former.clone(),
        live: plan.live(),
        bundle,
        checks: checks(&session.fleet.policy, &ready.host),
        settle: request.settle,
        engine: session.fleet.policy.deploy.engine,
        commit: commit(&ready),
        acknowledge: None,
    };
    let order = request.caller.order(&root, Some(ready.host.clone()), Work::Switch(Box::new(switch)))?;
    let verdict = hand_over(&order, ready.rights, &request.caller, talk)?;
    Ok(Report::of(Some(ready.host), plan, &order.run, verdict))
}

/// Builds the host's system, as whoever called.
fn build(ready: &Ready, rooted: &Rooted, talk: &dyn Talk) -> Result<String> {
    talk.event(Event::Step(format!("building the system of {}", ready.host)));
    let system = rooted.build("system", &ready.flake.system_of(&ready.host), |line| {
        if line.starts_with("building ") || line.starts_with("copying ") {
            talk.event(Event::Step(line.to_owned()));
        }
    });
    system.map_err(|error| {
        // Ctrl-C reaches nix too, which then fails.
        if signals::pending() {
            return signals::interrupted();
        }
        Error::failed(format!("the system of {} could not be built; nothing was changed", ready.host))
            .because(std::error::Error::source(&error).map_or_else(|| error.message().to_owned(), ToString::to_string))
    })
}

/// Brings the system into the store of the machine, and for a system that carries no secrets a bundle of them. Only
/// ciphertext travels.
fn bring(session: &Session, root: &Root, ready: &Ready, rooted: &Rooted, system: &str) -> Result<Option<String>> {
    let sudo = ready.rights == Rights::Sudo;
    if !root.is_machine() {
        session.talk.event(Event::Step("copying the system".to_owned()));
        nix::copy(root, &[system], sudo)?;
    }
    if root.exists(&format!("{system}/{}", system::MANIFEST))
        || !session.fleet.policy.secrets.values().any(|secret| secret.hosts.contains(&ready.host))
    {
        return Ok(None);
    }
    let folder = rooted.folder().join("bundle");
    write_bundle(session, &ready.host, &folder)?;
    let bundle = rooted.add(&format!("sealift-{}", ready.host), &folder)?;
    if !root.is_machine() {
        nix::copy(root, &[&bundle], sudo)?;
    }
    Ok(Some(bundle))
}

/// A folder with the manifest of a host and the sealed files that it names.
fn write_bundle(session: &Session, host: &HostName, folder: &Path) -> Result<()> {
    let manifest = Manifest::of(&session.fleet.policy, host, FileName::path);
    let mut text = serde_json::to_vec(&manifest)
        .map_err(|error| Error::new(Kind::Bug, "cannot write the manifest").because(error))?;
    text.push(b'\n');
    for entry in &manifest.secrets {
        let name = entry.sealed_as.parse().map_err(|fault| Error::new(Kind::Bug, format!("{fault}")))?;
        let bytes = session.fleet.sealed(&name)?.ok_or_else(|| Error::failed(format!("{} is gone", name.path())))?;
        files::replace(&folder.join(&entry.file), &bytes, 0o444, Durable::Later)?;
    }
    files::replace(&folder.join("manifest.json"), &text, 0o444, Durable::Later)
}

/// Where the manifest for a system is, from inside the root.
fn manifest_of(root: &Root, system: &str, bundle: Option<&str>) -> Option<String> {
    match bundle {
        Some(bundle) => Some(format!("{bundle}/manifest.json")),
        None => Some(format!("{system}/{}", system::MANIFEST)).filter(|own| root.exists(own)),
    }
}

/// Holds a manifest against the host: what another one is to have would only fail to open.
fn is_for(root: &Root, manifest: &str, host: &HostName) -> Result<()> {
    let text = root.read(manifest)?.unwrap_or_default();
    let is = Manifest::parse(&text)?.host;
    if is == *host {
        return Ok(());
    }
    Err(Error::failed(format!("the system that was built for {host} carries the secrets of {is}; nothing was changed"))
        .hint("mend the name in its configuration: the module takes it from `networking.hostName`"))
}

/// The declared checks of a host.
pub fn checks(policy: &Policy, host: &HostName) -> Vec<Look> {
    let of_host = policy.checks.iter().filter(|(_, check)| check.hosts.contains(host));
    of_host.map(|(name, check)| Look { name: name.clone(), probe: check.probe.clone() }).collect()
}

/// The commit that is deployed, marked if the work tree differs from it.
fn commit(ready: &Ready) -> Option<String> {
    let text = ready.git.call().args(["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]).read().ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned()).filter(|commit| !commit.is_empty())
}
