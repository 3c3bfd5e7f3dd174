//! The program on the host: takes one order, carries it out, and tells what happens. Started by a deployer on the same
//! machine, and depends on nothing of it: not on its terminal, its session, or that it still listens.

pub mod caller;
pub mod checks;
mod close;
pub mod events;
mod follow;
mod gc_roots;
pub mod generations;
mod heard;
mod journal;
mod keep;
pub mod launch;
mod order;
mod rollback;
pub mod secrets;
pub mod survey;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapters::fs::root::Root;
use crate::adapters::host::host_key::machine_keys;
use crate::adapters::host::run_dir::{self, RunDir};
use crate::adapters::host::{closure, etc_nixos, facts, units};
use crate::adapters::{process, signals};
use crate::commands::agent::events::{Listener, Reporter};
use crate::commands::agent::journal::RunJournal;
use crate::commands::agent::launch::Launcher;
use crate::commands::agent::transaction::Ended;
use crate::commands::install;
use crate::domain::deploy::protocol::{
    Failure, HostEvent, LONGEST, Look, Order, Outcome, VERSION, Verdict, Verified, Work, is_run,
};
use crate::domain::versioned;
use crate::error::{Error, Result};

/// How often it is looked whether a run is still at work.
const PAUSE: Duration = Duration::from_millis(250);

/// How long the end of a boot is waited for: as long as systemd itself waits for a unit.
const BOOT: Duration = Duration::from_secs(90);

/// What part of the program on the host this is.
pub enum Part {
    /// What a deployer starts: answers, or starts the part that does the work.
    Launcher(Launcher),
    /// The part that does the work, for this user.
    Here(u32),
}

/// Carries out the order and tells how it ended. Says whether it ended well.
pub fn run(order: &[u8], part: &Part, listener: Listener) -> bool {
    let order = parse(order);
    let machine = |order: &Order| Root::open(&order.root);
    if let (Part::Launcher(launcher), Ok(order)) = (part, &order)
        && matches!(order.work, Work::Switch(_) | Work::Recover)
    {
        return match machine(order).and_then(|root| launcher.start(&root, order)) {
            Ok(well) => well,
            Err(error) => tell_end(&Reporter::new(listener), Err(error)),
        };
    }
    let user = match part {
        Part::Launcher(launcher) => launcher.user,
        Part::Here(user) => {
            process::leave_session();
            *user
        }
    };
    let reporter = Arc::new(Reporter::new(listener));
    let last = order.and_then(|order| carry_out(&machine(&order)?, &order, user, &reporter));
    tell_end(&reporter, last)
}

/// Finishes or takes back what a killed run left on this machine, if there is anything. A run that is at work is left alone,
/// or with `wait` waited for. Says whether all is well: that a run was taken back is no failure of this.
pub fn recover(root: &Root, who: &str, run: &str, wait: bool, listener: Listener) -> bool {
    while wait && run_dir::is_held(root) && !signals::pending() {
        std::thread::sleep(PAUSE);
    }
    // One that is at work was not killed: its own switch may have started this. And where the machine is going down, nothing
    // can be started.
    if !run_dir::is_unfinished(root) || run_dir::is_held(root) || units::goes_down(root) {
        return true;
    }
    process::leave_session();
    let order = Order {
        version: VERSION,
        run: run.to_owned(),
        who: who.to_owned(),
        root: root.path().to_owned(),
        host: None,
        work: Work::Recover,
    };
    let reporter = Arc::new(Reporter::new(listener));
    let last = change(root, &order, 0, &reporter);
    // The unit of the run and that of the machine may both want to; one is enough, and tells how it ended.
    if last.is_err() && run_dir::is_held(root) {
        return true;
    }
    let well = !matches!(&last, Err(_) | Ok(HostEvent::End(Verdict { outcome: Outcome::NeedsOperator, .. })));
    tell_end(&reporter, last);
    well
}

/// Tells the last event, and says whether it is a good one.
fn tell_end(reporter: &Reporter, last: Result<HostEvent>) -> bool {
    let last = last.unwrap_or_else(|error| {
        HostEvent::End(Verdict {
            outcome: Outcome::Failed,
            generation: None,
            running: None,
            until_reboot: false,
            failure: Some(Failure::from(&error)),
        })
    });
    reporter.tell(&last);
    !matches!(last, HostEvent::GoesDown | HostEvent::End(Verdict { failure: Some(_), .. }))
}

fn parse(order: &[u8]) -> Result<Order> {
    let malformed = |fault| Error::usage(format!("the order is not well formed ({})", versioned::place(&fault)));
    let order: Order = versioned::read(order, VERSION..=VERSION, malformed, |version| {
        Error::usage(format!("the order is of version {version}, and this program takes version {VERSION}"))
            .help("use the same version of sealift on both sides")
    })?;
    // An empty one to follow is the newest.
    let followed = match &order.work {
        Work::Follow(run) if !run.is_empty() => Some(run),
        _ => None,
    };
    if ![Some(&order.run), followed].into_iter().flatten().all(|run| is_run(run)) {
        return Err(Error::usage("the order's run is not a name"));
    }
    if let Work::Switch(switch) = &order.work
        && [Some(switch.settle), switch.acknowledge].into_iter().flatten().any(|seconds| seconds > LONGEST)
    {
        return Err(Error::usage("the order would wait for longer than an hour"));
    }
    Ok(order)
}

/// Does what was asked for; the last thing to be told.
fn carry_out(root: &Root, order: &Order, user: u32, reporter: &Arc<Reporter>) -> Result<HostEvent> {
    match &order.work {
        Work::Survey(question) => Ok(HostEvent::Survey(Box::new(survey::of(root, question)?))),
        Work::Generations => Ok(HostEvent::Generations(generations::here(root.path())?)),
        Work::Verify(checks) => verified(root, order, checks).map(HostEvent::Verified),
        Work::Follow(run) => follow::run(root, run, reporter),
        Work::Examine => Ok(HostEvent::Examined(Box::new(facts::machine(root, machine_keys(root))))),
        Work::Switch(_) | Work::Recover => change(root, order, user, reporter),
    }
}

/// The checks, and what is delivered against the manifest of the system that runs.
fn verified(root: &Root, order: &Order, checks: &[Look]) -> Result<Verified> {
    let running = root.store_path(closure::RUNNING);
    let checks = checks::of_system(root, running.as_deref(), checks)?;
    let manifest = running.and_then(|running| closure::manifest(root, &running));
    Ok(Verified {
        checks: checks::look(root, order.host.as_ref(), &checks),
        secrets: manifest.map_or_else(|| Ok(BTreeMap::new()), |manifest| install::compare(root, &manifest))?,
    })
}

/// What changes the machine: one at a time, written down, recorded.
fn change(root: &Root, order: &Order, user: u32, reporter: &Arc<Reporter>) -> Result<HostEvent> {
    let run_dir = Arc::new(RunDir::take(root, &order.run, &order.who)?);
    reporter.log_to(&run_dir);
    reporter.keep_in(root);
    // A closed lid or a reboot in the middle of a switch would be one more thing to recover from; that nobody can be asked
    // for it is no reason to switch nothing.
    let awake = units::stay_awake(root);
    if let Err(error) = &awake {
        reporter.warn(format!("sleep and shutdown cannot be held off meanwhile: {}", error.message()));
    }
    await_boot(root, reporter)?;
    let left = RunJournal::left(&run_dir, &order.words())?;
    let recovered = left.map(|journal| close::end_left(root, &run_dir, journal, reporter)).transpose()?;
    if recovered.as_ref().is_some_and(|verdict| verdict.outcome == Outcome::Lost) {
        return Ok(HostEvent::GoesDown);
    }
    run_dir.prune(&order.run);
    let Work::Switch(switch) = &order.work else {
        return Ok(HostEvent::End(
            recovered.unwrap_or_else(|| close::verdict(root, order, &Ended::well(Outcome::Nothing))),
        ));
    };
    // The way back failed: nothing more is done before a person looked.
    if let Some(verdict) = recovered.filter(|verdict| verdict.outcome == Outcome::NeedsOperator) {
        return Ok(HostEvent::End(verdict));
    }
    // Its journal would be taken for that of the run which has ended.
    if run_dir::result(root, &order.run)?.is_some() {
        return Err(Error::usage(format!("run {} has ended on this machine; a run has a name of its own", order.run)));
    }
    let ended = switch
        .link
        .as_deref()
        .map_or(Ok(()), |to| etc_nixos::prepare(root, to))
        .and_then(|()| transaction::run(root, &run_dir, reporter, order, switch, user, rollback::go))
        .unwrap_or_else(|error| Ended::failed(Outcome::Failed, error));
    if ended.outcome == Outcome::Lost {
        return Ok(HostEvent::GoesDown);
    }
    let verdict = close::verdict(root, order, &ended);
    close::close(root, &run_dir, order, &verdict, reporter);
    Ok(HostEvent::End(verdict))
}

/// Waits until the machine has booted, and no longer than `BOOT`.
///
/// Fails when this process is asked to end meanwhile: nothing was begun, and what is left is for the next run.
fn await_boot(root: &Root, reporter: &Reporter) -> Result<()> {
    if !units::is_booting(root) {
        return Ok(());
    }
    reporter.step("waiting for the end of the boot");
    let end = Instant::now() + BOOT;
    while units::is_booting(root) {
        if signals::pending() {
            return Err(signals::interrupted());
        }
        if Instant::now() > end {
            let waited = BOOT.as_secs();
            reporter.warn(format!(
                "the machine is still booting after {waited} s: `systemctl list-jobs` shows what it waits for"
            ));
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
