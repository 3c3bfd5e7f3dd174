//! Closes a run: saves its result, sets /etc/nixos, adds the run to the record and removes its journal. Safe to repeat
//! for a run that left its journal behind.

use std::sync::Arc;

use crate::adapters::fs::root::Root;
use crate::adapters::host::run_dir::{self, RunDir};
use crate::adapters::host::{closure, etc_nixos, profile};
use crate::commands::agent::events::Reporter;
use crate::commands::agent::journal::RunJournal;
use crate::commands::agent::transaction::Ended;
use crate::commands::agent::{gc_roots, keep, rollback, switch};
use crate::domain::deploy::diff::Action;
use crate::domain::deploy::host_facts::Record;
use crate::domain::deploy::protocol::{
    DeployResult, Failure, HostCommand, HostEvent, HostRequest, Outcome, Profile, VERSION,
};
use crate::error::{Error, Result};

/// Finishes or rolls back a run that was interrupted, and returns its result.
pub fn end_left(root: &Root, run_dir: &RunDir, journal: RunJournal, reporter: &Arc<Reporter>) -> Result<DeployResult> {
    let request = journal.request.clone();
    let result = match run_dir::result(root, &request.run)? {
        // The run had ended; only the rest of `close` is missing.
        Some(result) => result,
        None => result(root, &request, &rollback::recover(root, run_dir, journal, reporter)),
    };
    if result.outcome != Outcome::Lost {
        close(root, run_dir, &request, &result, reporter);
        // Callers that still follow that run receive its end.
        run_dir.log_end(&request.run, &HostEvent::End(result.clone()));
    }
    Ok(result)
}

/// Closes a run. The run has ended once its result is saved: a later run that finds its journal only repeats the steps
/// of this function.
pub fn close(root: &Root, run_dir: &RunDir, request: &HostRequest, result: &DeployResult, reporter: &Reporter) {
    let tell = |error: &Error| reporter.warn(error.in_one_line());
    // A failure here is only a warning: the switch itself is done.
    let kept = run_dir.keep_result(&request.run, result).inspect_err(tell);
    // Without a saved result only removing the journal ends the run, so that comes before all other steps.
    let ended = if kept.is_err() { run_dir.end_journal() } else { Ok(()) };
    link(root, request, result, reporter);
    record(root, run_dir, request, result).unwrap_or_else(|error| tell(&error));
    let ended = ended.and_then(|()| run_dir.end_journal());
    if let Err(error) = &ended {
        let next = if kept.is_ok() { "the next run removes it" } else { "remove it before the next deploy" };
        reporter.warn(format!("the deploy has ended, but its journal stays: {}; {next}", error.in_one_line()));
    }
    if kept.is_err() && ended.is_err() {
        // The next run finds the journal and rolls back, and needs the systems that the GC roots keep.
        return;
    }
    if matches!(result.outcome, Outcome::Done | Outcome::PendingReboot) {
        gc_roots::forget_bundles(root);
    }
    gc_roots::let_go(root);
}

/// Returns the result of a request, with the current state of the machine.
pub fn result(root: &Root, request: &HostRequest, ended: &Ended) -> DeployResult {
    DeployResult {
        outcome: ended.outcome,
        generation: profile::current(root),
        running: root.store_path(closure::RUNNING),
        until_reboot: until_reboot(root, request, ended.outcome),
        failure: ended.failure.as_ref().map(|failure| Failure::from(failure).with_journal(&ended.unit_log)),
    }
}

/// Points /etc/nixos at the requested folder or, after a manual rollback, at its previous target. The switch has
/// succeeded by then, so a failure is only reported.
fn link(root: &Root, request: &HostRequest, result: &DeployResult, reporter: &Reporter) {
    let HostCommand::Switch(switch) = &request.command else { return };
    let stays = matches!(switch.action, Action::Switch | Action::Boot);
    if !stays || !matches!(result.outcome, Outcome::Done | Outcome::PendingReboot) {
        return;
    }
    let told = match (&switch.link, switch.profile) {
        (Some(to), _) => etc_nixos::link(root, to, result.generation),
        (None, Profile::Generation(_)) => etc_nixos::restore(root, result.generation),
        (None, Profile::New) => return,
    };
    match told {
        Ok(None) => {}
        Ok(Some(text)) => reporter.tell(&HostEvent::Step { text }),
        Err(error) => reporter.tell(&HostEvent::Warning { text: error.in_one_line() }),
    }
}

/// Whether delivered secrets are lost at the next boot because the system has no unit that delivers them again.
fn until_reboot(root: &Root, request: &HostRequest, outcome: Outcome) -> bool {
    let HostCommand::Switch(switch) = &request.command else { return false };
    let delivered = matches!(switch.action, Action::Test | Action::Switch)
        && matches!(outcome, Outcome::Done | Outcome::PendingReboot);
    let brought =
        switch.bundle.is_some() && !root.exists(&format!("{}/{}", switch::activated(root, switch), closure::UNIT));
    delivered && (brought || (switch.keep_values && keep::is_in_use(root)))
}

/// Adds a run to the record of all runs, unless it is the last entry already.
fn record(root: &Root, run_dir: &RunDir, request: &HostRequest, result: &DeployResult) -> Result<()> {
    if run_dir::last(root).is_some_and(|last| last.run == request.run) {
        return Ok(());
    }
    let switch = match &request.command {
        HostCommand::Switch(switch) => Some(switch),
        _ => None,
    };
    let carried =
        switch.and_then(|switch| switch::manifest(root, switch)).and_then(|at| closure::secrets(root, &at).ok());
    let line = Record {
        version: VERSION,
        run: request.run.clone(),
        who: request.who.clone(),
        ended: run_dir::now(),
        action: switch.map(|switch| switch.action),
        system: switch.map(|switch| switch.system.clone()),
        former: switch.and_then(|switch| switch.expected.clone()),
        commit: switch.and_then(|switch| switch.commit.clone()),
        secrets: carried.into_iter().flatten().map(|secret| (secret.name, secret.digest)).collect(),
        homes: switch
            .into_iter()
            .flat_map(|switch| &switch.homes)
            .map(|home| (home.user.clone(), home.package.clone()))
            .collect(),
        outcome: result.outcome,
        generation: result.generation,
        reason: result.failure.as_ref().map(Failure::reason),
    };
    run_dir.record(&line)
}
