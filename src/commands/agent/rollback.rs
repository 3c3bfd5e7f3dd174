//! Rolls back a run: restores the previous state, with the saved system's own switch-to-configuration. Also finishes a
//! run that was killed after its checks had passed.

use std::sync::Arc;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::host::activation::{Activation, Program, end_left};
use crate::adapters::host::run_dir::RunDir;
use crate::adapters::host::{ack, closure, home, profile, units};
use crate::commands::agent::events::Reporter;
use crate::commands::agent::gc_roots::point;
use crate::commands::agent::journal::{RunJournal, Step};
use crate::commands::agent::secrets::{take_all, take_back};
use crate::commands::agent::switch::activated;
use crate::commands::agent::transaction::{Ended, Transaction};
use crate::domain::deploy::diff::Action;
use crate::domain::deploy::home::State;
use crate::domain::deploy::protocol::{HostCommand, Outcome, Profile, Switch};
use crate::domain::deploy::switched::Switched;
use crate::error::{Error, Kind, Result};

/// Rolls back because of an error, and returns how the run ended.
pub fn go(transaction: &mut Transaction<'_>, why: Error) -> Ended {
    let HostCommand::Switch(switch) = transaction.journal.request.command.clone() else {
        return Ended::failed(Outcome::Failed, why);
    };
    // Nothing can be started any more: the journal stays, and the next boot continues from here.
    if units::goes_down(transaction.root) {
        return Ended::later();
    }
    if transaction.journal.reached > Step::Begun {
        transaction.reporter.warn(format!("{}; going back", why.message()));
    }
    let busy = transaction.journal.reached == Step::Activate && why.kind() == Kind::Failed;
    // Nothing was switched: putting secrets in place failed, or another switch held the lock.
    let untouched = transaction.journal.reached <= Step::Install || busy;
    let faults = undo(transaction, &switch, busy);
    if !faults.is_empty() && units::goes_down(transaction.root) {
        return Ended::later();
    }
    if faults.is_empty() {
        if untouched {
            return Ended::failed(Outcome::Failed, why);
        }
        let failure = rolled_back(transaction.root, &switch, &transaction.journal, &why);
        return Ended::failed(Outcome::RolledBack, failure);
    }
    // What could not be undone now would fail again. An operator must look, and the next run starts from the state it
    // finds.
    let words = transaction.journal.request.words();
    let failure = Error::all(Kind::NeedsOperator, format!("{}, and the way back failed too", why.message()), faults).help(
        format!("the host needs manual repair: `sealift generations{words}` shows what there is, `sealift rollback{words} --to N` goes to one of them"),
    );
    // If several checks got worse, the message has only their number.
    let why: Vec<&str> = reasons(&why).skip(1).collect();
    let failure = if why.is_empty() { failure } else { failure.because(why.join("\n")) };
    Ended::failed(Outcome::NeedsOperator, failure)
}

fn rolled_back(root: &Root, switch: &Switch, journal: &RunJournal, why: &Error) -> Error {
    let same = journal.saved.system == Some(activated(root, switch));
    let what = match (&journal.saved.system, same) {
        _ if switch.only_homes => "the deploy failed; homes are what they were before",
        (_, true) => "the deploy failed; the system is the one that ran before, and stays",
        (Some(_), _) => "the deploy failed and was rolled back",
        (None, _) => "the deploy failed; what it had installed is removed",
    };
    let error = Error::new(Kind::RolledBack, what).because(reasons(why).collect::<Vec<_>>().join("\n"));
    let next = match (switch.profile, journal.reached) {
        (Profile::Generation(_), Step::Verify) => "`--no-checks` goes back without running the checks".to_owned(),
        (Profile::Generation(_), _) => {
            format!("`sealift generations{}` shows what else there is", journal.request.words())
        }
        (Profile::New, _) => "fix what failed, and deploy again".to_owned(),
    };
    error.help(why.advice().map_or(next, str::to_owned))
}

/// Returns the message of an error and those of its parts.
fn reasons(why: &Error) -> impl Iterator<Item = &str> {
    std::iter::once(why).chain(why.parts()).map(Error::message)
}

/// Undoes everything that can be undone of the steps that were begun, last step first. Returns the failures.
fn undo(transaction: &mut Transaction<'_>, switch: &Switch, busy: bool) -> Vec<Error> {
    let reached = transaction.journal.reached;
    let saved = transaction.journal.saved.clone();
    let root = transaction.root;
    transaction.journal.back = true;
    // If the journal cannot be written, for example on a full disk, the rollback continues and can still succeed.
    if let Err(error) = transaction.journal.write(transaction.run_dir) {
        transaction.reporter.warn(error.in_one_line());
    }
    let mut faults = Vec::new();
    let mut attempt = |outcome: Result<()>| faults.extend(outcome.err());
    attempt(end_left(root));
    if reached >= Step::Home {
        saved.homes.iter().for_each(|previous| attempt(home_back(transaction, switch, previous)));
    }
    if switch.only_homes {
        return faults;
    }
    if reached >= Step::Profile {
        attempt(profile::restore(root, saved.generation, &saved.generations));
    }
    // Comes before the saved system is activated, so that the services it restarts find their own values. If both
    // systems have a unit, the saved system's unit compares its secrets with the live ones and installs its own.
    let delivers =
        |system: Option<&str>| system.is_some_and(|system| root.exists(&format!("{system}/{}", closure::UNIT)));
    let by_units = transaction.facts.has_unit && delivers(saved.system.as_deref());
    let booted = transaction.journal.is_of_former_boot(root);
    if reached >= Step::Install && !booted && (transaction.installs(switch) || !by_units) {
        attempt(take_back(root, saved.secrets));
        attempt(restore_bundle(root, switch, saved.bundle.as_deref()));
    }
    // After a reboot either system may be running. Without a reboot, the step that was reached decides.
    let runs = root.store_path(closure::RUNNING);
    let coming = activated(root, switch);
    let activated = if booted {
        runs.as_ref() == Some(&switch.system)
    } else {
        reached >= Step::Activate && !busy && switch.live && matches!(switch.action, Action::Test | Action::Switch)
    };
    if let Some(previous) = saved.system.as_deref().filter(|previous| activated && *previous != coming) {
        transaction.reporter.step("activating the previous system");
        attempt(activate_saved(transaction, previous, Action::Test));
    }
    if let Some(previous) = saved.generation_system.as_deref().filter(|_| reached >= Step::Boot) {
        transaction.reporter.step("making the previous system the boot default");
        attempt(activate_saved(transaction, previous, Action::Boot));
    }
    // Secrets that the new system delivered since the reboot are unused if the saved system delivers none.
    if booted && !delivers(saved.system.as_deref()) {
        attempt(take_all(root));
    }
    faults
}

/// Restores a home. One that did not exist before stays linked: home-manager cannot remove it.
fn home_back(transaction: &Transaction<'_>, switch: &Switch, previous: &State) -> Result<()> {
    let (root, user) = (transaction.root, &previous.user);
    home::restore(root, previous)?;
    let Some(active) = &previous.active else {
        transaction.reporter.warn(format!("{user} had no home of home-manager before: what it linked stays"));
        return Ok(());
    };
    transaction.reporter.step(format!("activating the previous home of {user}"));
    // An interrupted activation has linked some files but not yet registered itself as the active one.
    let coming = switch.homes.iter().find(|home| home.user == *user);
    let taken = coming.map_or(Ok(()), |home| home::take_as_active(root, user, &home.package));
    home::activate(root, user, active, |line| transaction.reporter.said(line)).and(taken)
}

fn activate_saved(transaction: &Transaction<'_>, system: &str, action: Action) -> Result<()> {
    let switched = transaction.patiently(Activation { system, action, checked: false, engine: Program::Native })?;
    match (transaction.judge(&switched), switched) {
        (Ok(()), _) => Ok(()),
        (Err(error), Switched::Busy) => Err(error),
        (Err(error), _) => Err(Error::new(Kind::NeedsOperator, format!("the previous system: {}", error.message()))),
    }
}

fn restore_bundle(root: &Root, switch: &Switch, saved: Option<&str>) -> Result<()> {
    let link = closure::bundle(&activated(root, switch));
    match (root.link(&link), saved) {
        (now, saved) if now.as_deref() == saved => Ok(()),
        (_, Some(saved)) => point(root, &link, saved),
        (_, None) => files::remove(&root.outside(&link)),
    }
}

/// Finishes or rolls back an interrupted run, and returns how it ended.
pub fn recover(root: &Root, run_dir: &RunDir, journal: RunJournal, reporter: &Arc<Reporter>) -> Ended {
    let HostCommand::Switch(switch) = journal.request.command.clone() else { return Ended::with(Outcome::Nothing) };
    reporter.warn(format!(
        "an interrupted deploy was found (run {}, begun by {})",
        journal.request.run, journal.request.who
    ));
    // A leftover FIFO does no harm.
    let _left = ack::forget(root, &journal.request.run);
    // The system may be gone from the store; then only a rollback is possible.
    let facts = closure::facts(root, &activated(root, &switch));
    let finish = journal.reached >= Step::Profile && !journal.back && switch.acknowledge.is_none() && facts.is_ok();
    let reporter = Arc::clone(reporter);
    // No acknowledgement is awaited here: a run that needed one is rolled back.
    let mut transaction = Transaction {
        root,
        run_dir,
        reporter,
        journal,
        facts: facts.unwrap_or_default(),
        user: 0,
        unit_log: Vec::new(),
    };
    if !finish {
        return go(&mut transaction, Error::new(Kind::RolledBack, "it was interrupted"));
    }
    match transaction.make_default(&switch) {
        Ok(()) => Ended::with(Outcome::Done),
        Err(error) => go(&mut transaction, error),
    }
}
