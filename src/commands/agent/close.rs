//! How a run is closed: its result is kept first, then come the links, the record of all runs and the end of its journal.
//! Done again, for a run whose journal was left, it changes nothing.

use std::sync::Arc;

use crate::adapters::fs::root::Root;
use crate::adapters::host::run_dir::{self, RunDir};
use crate::adapters::host::{closure, etc_nixos, profile};
use crate::commands::agent::events::Reporter;
use crate::commands::agent::journal::RunJournal;
use crate::commands::agent::transaction::Ended;
use crate::commands::agent::{gc_roots, keep, order, rollback};
use crate::domain::deploy::diff::Action;
use crate::domain::deploy::host_facts::Record;
use crate::domain::deploy::protocol::{Failure, HostEvent, Order, Outcome, Profile, VERSION, Verdict, Work};
use crate::error::{Error, Result};

/// Ends a run that did not come to its end, and says what it came to.
pub fn end_left(root: &Root, run_dir: &RunDir, journal: RunJournal, reporter: &Arc<Reporter>) -> Result<Verdict> {
    let order = journal.order.clone();
    let verdict = match run_dir::result(root, &order.run)? {
        // It had ended; only the rest of `close` is missing.
        Some(verdict) => verdict,
        None => verdict(root, &order, &rollback::recover(root, run_dir, journal, reporter)),
    };
    if verdict.outcome != Outcome::Lost {
        close(root, run_dir, &order, &verdict, reporter);
        // Those that still wait for that run hear of it.
        run_dir.log_end(&order.run, &HostEvent::End(verdict.clone()));
    }
    Ok(verdict)
}

/// Closes a run. It has ended once its result is kept: the run that finds its journal after that only does the rest of this.
pub fn close(root: &Root, run_dir: &RunDir, order: &Order, verdict: &Verdict, reporter: &Reporter) {
    let tell = |error: &Error| reporter.warn(error.in_one_line());
    // What was done is done, and reported to the caller.
    let kept = run_dir.keep_result(&order.run, verdict).inspect_err(tell);
    // Without a result it is the end of the journal that ends the run: nothing that follows may be done before.
    let ended = if kept.is_err() { run_dir.end_journal() } else { Ok(()) };
    link(root, order, verdict, reporter);
    record(root, run_dir, order, verdict).unwrap_or_else(|error| tell(&error));
    let ended = ended.and_then(|()| run_dir.end_journal());
    if let Err(error) = &ended {
        let next = if kept.is_ok() { "the next run removes it" } else { "remove it before the next deploy" };
        reporter.warn(format!("the deploy has ended, but its journal stays: {}; {next}", error.in_one_line()));
    }
    if kept.is_err() && ended.is_err() {
        // The next run finds the journal, and goes back to what is kept for it.
        return;
    }
    if matches!(verdict.outcome, Outcome::Done | Outcome::PendingReboot) {
        gc_roots::forget_bundles(root);
    }
    gc_roots::let_go(root);
}

/// What an order came to, and how the machine is now.
pub fn verdict(root: &Root, order: &Order, ended: &Ended) -> Verdict {
    Verdict {
        outcome: ended.outcome,
        generation: profile::current(root),
        running: root.store_path(closure::RUNNING),
        until_reboot: until_reboot(root, order, ended.outcome),
        failure: ended.failure.as_ref().map(|failure| Failure::from(failure).with_journal(&ended.unit_log)),
    }
}

/// Lets /etc/nixos lead where it was asked to, or, after a way back by hand, where it led before. The system is well by then,
/// and stays so.
fn link(root: &Root, order: &Order, verdict: &Verdict, reporter: &Reporter) {
    let Work::Switch(switch) = &order.work else { return };
    let stays = matches!(switch.action, Action::Switch | Action::Boot);
    if !stays || !matches!(verdict.outcome, Outcome::Done | Outcome::PendingReboot) {
        return;
    }
    let told = match (&switch.link, switch.profile) {
        (Some(to), _) => etc_nixos::link(root, to, verdict.generation),
        (None, Profile::Generation(_)) => etc_nixos::restore(root, verdict.generation),
        (None, Profile::New) => return,
    };
    match told {
        Ok(None) => {}
        Ok(Some(text)) => reporter.tell(&HostEvent::Step { text }),
        Err(error) => reporter.tell(&HostEvent::Warning { text: error.in_one_line() }),
    }
}

/// Whether delivered secrets are gone after the next boot: the system has no unit that would deliver them again.
fn until_reboot(root: &Root, order: &Order, outcome: Outcome) -> bool {
    let Work::Switch(switch) = &order.work else { return false };
    let delivered = matches!(switch.action, Action::Test | Action::Switch)
        && matches!(outcome, Outcome::Done | Outcome::PendingReboot);
    let brought =
        switch.bundle.is_some() && !root.exists(&format!("{}/{}", order::activated(root, switch), closure::UNIT));
    delivered && (brought || (switch.keep_values && keep::is_in_use(root)))
}

/// Adds a run to the record of all, where it is not its last one already.
fn record(root: &Root, run_dir: &RunDir, order: &Order, verdict: &Verdict) -> Result<()> {
    if run_dir::last(root).is_some_and(|last| last.run == order.run) {
        return Ok(());
    }
    let switch = match &order.work {
        Work::Switch(switch) => Some(switch),
        _ => None,
    };
    let carried =
        switch.and_then(|switch| order::manifest(root, switch)).and_then(|at| closure::secrets(root, &at).ok());
    let line = Record {
        version: VERSION,
        run: order.run.clone(),
        who: order.who.clone(),
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
        outcome: verdict.outcome,
        generation: verdict.generation,
        reason: verdict.failure.as_ref().map(Failure::reason),
    };
    run_dir.record(&line)
}
