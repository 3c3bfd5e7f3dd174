//! The way back: everything as it was before the run, by the saved system's own switch-to-configuration. And the way on
//! for a run that was killed when it was all but done.

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

/// Goes back because of an error, and says how that ended.
pub fn go(transaction: &mut Transaction<'_>, why: Error) -> Ended {
    let HostCommand::Switch(switch) = transaction.journal.request.command.clone() else {
        return Ended::failed(Outcome::Failed, why);
    };
    // Nothing can be started any more: the journal stays, and the next boot goes on from here.
    if units::goes_down(transaction.root) {
        return Ended::later();
    }
    if transaction.journal.reached > Step::Begun {
        transaction.reporter.warn(format!("{}; going back", why.message()));
    }
    let busy = transaction.journal.reached == Step::Activate && why.kind() == Kind::Failed;
    // Nothing was switched yet: what failed was putting secrets in place, or another switch was in the way.
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
    // What could not be undone now is not undone by trying the same again: a person looks, and the next run starts from what
    // is there.
    let words = transaction.journal.request.words();
    let failure = Error::all(Kind::NeedsOperator, format!("{}, and the way back failed too", why.message()), faults).help(
        format!("the host needs manual repair: `sealift generations{words}` shows what there is, `sealift rollback{words} --to N` goes to one of them"),
    );
    // Of several checks that got worse the message tells only how many.
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

/// What went wrong, and its parts.
fn reasons(why: &Error) -> impl Iterator<Item = &str> {
    std::iter::once(why).chain(why.parts()).map(Error::message)
}

/// Undoes the steps that were begun, last one first, and everything that can be undone. Says what could not.
fn undo(transaction: &mut Transaction<'_>, switch: &Switch, busy: bool) -> Vec<Error> {
    let reached = transaction.journal.reached;
    let saved = transaction.journal.saved.clone();
    let root = transaction.root;
    transaction.journal.back = true;
    // Not written down, as on a full disk, is no reason to stay half-way, and takes nothing from a way back that succeeds.
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
    // Before the saved system is activated, so that what it restarts finds its own values. Where both systems have a
    // unit, the saved one's compares with what is live and installs its own.
    let delivers =
        |system: Option<&str>| system.is_some_and(|system| root.exists(&format!("{system}/{}", closure::UNIT)));
    let by_units = transaction.facts.has_unit && delivers(saved.system.as_deref());
    let booted = transaction.journal.is_of_former_boot(root);
    if reached >= Step::Install && !booted && (transaction.installs(switch) || !by_units) {
        attempt(take_back(root, saved.secrets));
        attempt(restore_bundle(root, switch, saved.bundle.as_deref()));
    }
    // After a boot runs what boots, which may be either; before it, whatever was reached.
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
    // What the system that goes delivered in this boot is nobody's, where the saved one delivers nothing.
    if booted && !delivers(saved.system.as_deref()) {
        attempt(take_all(root));
    }
    faults
}

/// Makes a home what it was. One that never was stays as it is linked: home-manager has no way to take it apart.
fn home_back(transaction: &Transaction<'_>, switch: &Switch, previous: &State) -> Result<()> {
    let (root, user) = (transaction.root, &previous.user);
    home::restore(root, previous)?;
    let Some(active) = &previous.active else {
        transaction.reporter.warn(format!("{user} had no home of home-manager before: what it linked stays"));
        return Ok(());
    };
    transaction.reporter.step(format!("activating the previous home of {user}"));
    // An activation that was interrupted has linked a part, and not yet said that it is the active one.
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

/// Finishes or takes back what a killed run left. How it ended now.
pub fn recover(root: &Root, run_dir: &RunDir, journal: RunJournal, reporter: &Arc<Reporter>) -> Ended {
    let HostCommand::Switch(switch) = journal.request.command.clone() else { return Ended::with(Outcome::Nothing) };
    reporter.warn(format!(
        "an interrupted deploy was found (run {}, begun by {})",
        journal.request.run, journal.request.who
    ));
    // It is in nobody's way.
    let _left = ack::forget(root, &journal.request.run);
    // The system itself may be gone from the store; then the way back is the only one.
    let facts = closure::facts(root, &activated(root, &switch));
    let finish = journal.reached >= Step::Profile && !journal.back && switch.acknowledge.is_none() && facts.is_ok();
    let reporter = Arc::clone(reporter);
    // Nobody is waited for here: who had to come did not.
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
