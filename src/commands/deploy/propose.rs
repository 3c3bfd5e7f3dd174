//! Plans the deploy of one host: compares what was built with what runs there.

use std::path::Path;

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::fs::root::Root;
use crate::adapters::host::closure;
use crate::adapters::nix::build::Rooted;
use crate::adapters::nix::store;
use crate::commands::Session;
use crate::commands::agent::caller::Caller;
use crate::commands::agent::survey;
use crate::commands::deploy::build::{Build, Built};
use crate::commands::deploy::difference;
use crate::commands::deploy::request::Planning;
use crate::commands::hosts::connection::{Target, Transport};
use crate::commands::hosts::privilege::Rights;
use crate::commands::hosts::select::Ready;
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::checks::commands;
use crate::domain::deploy::diff::Action;
use crate::domain::deploy::host_facts::{Question, Seen};
use crate::domain::deploy::packages::Difference;
use crate::domain::deploy::plan::{Item, Kept, Plan, State};
use crate::domain::manifest::Manifest;
use crate::domain::name::{Configuration, FileName, HostName};
use crate::error::{Error, Kind, Result};

pub fn propose(build: &Build<'_>, ready: &Ready, built: &Built, talk: &dyn Talk) -> Result<Item> {
    let Build { session, who, planning, rooted, .. } = *build;
    let Ready { host, target, rights } = ready;
    if planning.only_homes {
        return only_homes(planning, ready, built, &session.fleet.policy.configuration(host));
    }
    let elsewhere = root_of(target);
    let copy = |path: &String| match elsewhere {
        Some(root) => store::copy(root, &[path], matches!(rights, Rights::Sudo)),
        None => Ok(()),
    };
    if elsewhere.is_some() {
        talk.event(Event::Step("copying the system".to_owned()));
    }
    copy(&built.system)?;
    let mut coming = seen(target, &who.caller, &built.system, built.there)?;
    let bundle = bundle(session, host, rooted, coming.carries.is_some())?;
    if let Some(bundle) = &bundle {
        copy(bundle)?;
        let manifest = format!("{bundle}/manifest.json");
        coming.secrets = match &target.transport {
            Transport::Local(root) => closure::secrets(root, &manifest)?,
            Transport::Remote(_) => closure::secrets(&Root::open(Path::new("/"))?, &manifest)?,
        };
    }
    if let Some(other) = coming.carries.as_ref().filter(|carries| *carries != host) {
        return Err(Error::failed(format!(
            "the system that was built for {host} carries the secrets of {other}; nothing was changed"
        ))
        .help("correct the name in its configuration: the module takes it from `networking.hostName`, which is its name in recipients.toml or its `configuration` there"));
    }
    let kept = Kept::of(&target.survey, &coming, planning.action, planning.base);
    if let Some(system) = kept.as_ref().and_then(|kept| kept.system.as_deref()) {
        // What is delivered along with the system stays the same.
        let special = seen(target, &who.caller, system, built.there)?;
        let secrets = if special.carries.is_none() { coming.secrets } else { special.secrets };
        coming = Seen { secrets, ..special };
    }
    let program = session.fleet.policy.deploy.diff;
    let packages = difference::between(target, &who.caller, &coming.system, built.there, program, talk);
    let policy = &session.fleet.policy;
    let mut plan = Plan::of(Some(policy), Some(host), planning.action, &target.survey, &coming, packages)
        .of_base(&built.system, kept);
    if coming.commands.is_none() && matches!(planning.action, Action::Test | Action::Switch) {
        plan.commands = commands(policy, host);
    }
    // A home can be switched only on a running machine.
    let homes = if elsewhere.is_none() { &built.homes[..] } else { &[] };
    let plan = plan.with_homes(&target.survey, &coming, homes);
    Ok(Item { plan, bundle, there: built.there, state: State::Pending })
}

/// Returns what a built system says about itself. `there` says that it is in the host's store and not in this
/// machine's.
fn seen(target: &Target, caller: &Caller, system: &str, there: bool) -> Result<Seen> {
    match &target.transport {
        Transport::Local(root) => survey::coming(root, system),
        Transport::Remote(_) if there => {
            let question = Question { coming: Some(system.to_owned()), closure: false };
            let seen = target.survey(caller, question)?.coming;
            seen.ok_or_else(|| Error::failed(format!("{system} is not in the store of {}", target.shown())))
        }
        Transport::Remote(_) => survey::coming(&Root::open(Path::new("/"))?, system),
    }
}

/// Returns the root of a machine that is not running, if the target is one.
fn root_of(target: &Target) -> Option<&Root> {
    match &target.transport {
        Transport::Local(root) => Some(root).filter(|root| !root.is_machine()),
        Transport::Remote(_) => None,
    }
}

/// Plans a deploy that changes only homes.
fn only_homes(planning: &Planning, ready: &Ready, built: &Built, configuration: &Configuration) -> Result<Item> {
    let Ready { host, target, .. } = ready;
    let survey = &target.survey;
    if root_of(target).is_some() {
        return Err(Error::usage("homes are switched only on a running machine, not below `--root`"));
    }
    if built.homes.is_empty() {
        return Err(Error::failed(format!("the flake has no home for {host}")).help(format!(
            "it is named `homeConfigurations.\"USER@{configuration}\"`; `lib.mkHomes` of sealift's flake makes them"
        )));
    }
    let running = survey.running.as_ref();
    let running = running.ok_or_else(|| Error::failed(format!("the running system of {host} cannot be read")))?;
    let plan = Plan::of(None, Some(host), planning.action, survey, running, Ok(Difference::default()));
    let plan = Plan { only_homes: true, ..plan }.with_homes(survey, running, &built.homes);
    Ok(Item { plan, bundle: None, there: built.there, state: State::Pending })
}

/// Writes a manifest and its sealed files into the store, for a system that carries none. Returns the store path.
fn bundle(session: &Session, host: &HostName, rooted: &Rooted, carries: bool) -> Result<Option<String>> {
    if carries || !session.fleet.policy.secrets.values().any(|secret| secret.hosts.contains(host)) {
        return Ok(None);
    }
    let folder = rooted.folder().join(format!("bundle-{host}"));
    write_bundle(session, host, &folder)?;
    let stored = rooted.add(&format!("sealift-{host}"), &folder);
    // The copy in the store is enough.
    let _left = std::fs::remove_dir_all(&folder);
    stored.map(Some)
}

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
