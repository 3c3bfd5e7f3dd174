//! Carries out one request and reports its end. Also recovers an interrupted run.

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
use crate::commands::agent::{checks, close, follow, generations, rollback, survey, transaction};
use crate::commands::install;
use crate::domain::deploy::protocol::{
    DeployResult, Failure, HostCommand, HostEvent, HostRequest, LONGEST, Look, Outcome, VERSION, Verified, is_run,
};
use crate::domain::versioned;
use crate::error::{Error, Result};

/// How often to check whether a run is still active.
const PAUSE: Duration = Duration::from_millis(250);

/// How long to wait for a boot to finish: as long as systemd waits for a unit.
const BOOT: Duration = Duration::from_secs(90);

/// The role of this process.
pub enum Part {
    /// Started by a deployer: answers a request itself, or starts the worker.
    Launcher(Launcher),
    /// The worker, with the id of the user who may acknowledge.
    Here(u32),
}

/// Carries out the request and reports its end. Returns whether it succeeded.
pub fn run(request: &[u8], part: &Part, listener: Listener) -> bool {
    let request = parse(request);
    let machine = |request: &HostRequest| Root::open(&request.root);
    if let (Part::Launcher(launcher), Ok(request)) = (part, &request)
        && matches!(request.command, HostCommand::Switch(_) | HostCommand::Recover)
    {
        return match machine(request).and_then(|root| launcher.start(&root, request)) {
            Ok(success) => success,
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
    let last = request.and_then(|request| carry_out(&machine(&request)?, &request, user, &reporter));
    tell_end(&reporter, last)
}

/// Finishes or rolls back an interrupted run on this machine, if there is one. Leaves an active run alone or, with
/// `wait`, waits for it. Returns true also if the run was rolled back.
pub fn recover(root: &Root, who: &str, run: &str, wait: bool, listener: Listener) -> bool {
    while wait && run_dir::is_held(root) && !signals::pending() {
        std::thread::sleep(PAUSE);
    }
    // An active run was not killed: its own switch may have started this process. While the machine shuts down nothing
    // can be started.
    if !run_dir::is_unfinished(root) || run_dir::is_held(root) || units::goes_down(root) {
        return true;
    }
    process::leave_session();
    let request = HostRequest {
        version: VERSION,
        run: run.to_owned(),
        who: who.to_owned(),
        root: root.path().to_owned(),
        host: None,
        command: HostCommand::Recover,
    };
    let reporter = Arc::new(Reporter::new(listener));
    let last = change(root, &request, 0, &reporter);
    // The recovery units of the run and of the machine may run at the same time. One is enough, and reports the end.
    if last.is_err() && run_dir::is_held(root) {
        return true;
    }
    let success = !matches!(&last, Err(_) | Ok(HostEvent::End(DeployResult { outcome: Outcome::NeedsOperator, .. })));
    tell_end(&reporter, last);
    success
}

/// Reports the last event. Returns whether it is a success.
fn tell_end(reporter: &Reporter, last: Result<HostEvent>) -> bool {
    let last = last.unwrap_or_else(|error| {
        HostEvent::End(DeployResult {
            outcome: Outcome::Failed,
            generation: None,
            running: None,
            until_reboot: false,
            failure: Some(Failure::from(&error)),
        })
    });
    reporter.tell(&last);
    !matches!(last, HostEvent::GoesDown | HostEvent::End(DeployResult { failure: Some(_), .. }))
}

fn parse(request: &[u8]) -> Result<HostRequest> {
    let malformed = |fault| Error::usage(format!("the request is not well formed ({})", versioned::place(&fault)));
    let request: HostRequest = versioned::read(request, VERSION..=VERSION, malformed, |version| {
        Error::usage(format!("the request is of version {version}, and this program takes version {VERSION}"))
            .help("use the same version of sealift on both sides")
    })?;
    // An empty name selects the newest run.
    let followed = match &request.command {
        HostCommand::Follow(run) if !run.is_empty() => Some(run),
        _ => None,
    };
    if ![Some(&request.run), followed].into_iter().flatten().all(|run| is_run(run)) {
        return Err(Error::usage("the request's run is not a name"));
    }
    if let HostCommand::Switch(switch) = &request.command
        && [Some(switch.settle), switch.acknowledge].into_iter().flatten().any(|seconds| seconds > LONGEST)
    {
        return Err(Error::usage("the request would wait for longer than an hour"));
    }
    Ok(request)
}

/// Carries out the request and returns its last event.
fn carry_out(root: &Root, request: &HostRequest, user: u32, reporter: &Arc<Reporter>) -> Result<HostEvent> {
    match &request.command {
        HostCommand::Survey(question) => Ok(HostEvent::Survey(Box::new(survey::of(root, question)?))),
        HostCommand::Generations => Ok(HostEvent::Generations(generations::here(root.path())?)),
        HostCommand::Verify(checks) => verified(root, request, checks).map(HostEvent::Verified),
        HostCommand::Follow(run) => follow::run(root, run, reporter),
        HostCommand::Examine => Ok(HostEvent::Examined(Box::new(facts::machine(root, machine_keys(root))))),
        HostCommand::Switch(_) | HostCommand::Recover => change(root, request, user, reporter),
    }
}

/// Runs the checks, and compares the delivered secrets with the manifest of the running system.
fn verified(root: &Root, request: &HostRequest, checks: &[Look]) -> Result<Verified> {
    let running = root.store_path(closure::RUNNING);
    let checks = checks::of_system(root, running.as_deref(), checks)?;
    let manifest = running.and_then(|running| closure::manifest(root, &running));
    Ok(Verified {
        checks: checks::look(root, request.host.as_ref(), &checks),
        secrets: manifest.map_or_else(|| Ok(BTreeMap::new()), |manifest| install::compare(root, &manifest))?,
    })
}

/// Changes the machine: one run at a time, with a journal and a record.
fn change(root: &Root, request: &HostRequest, user: u32, reporter: &Arc<Reporter>) -> Result<HostEvent> {
    let run_dir = Arc::new(RunDir::take(root, &request.run, &request.who)?);
    reporter.log_to(&run_dir);
    reporter.keep_in(root);
    // Suspend or shutdown during a switch would be one more thing to recover from. If they cannot be inhibited, the
    // switch still runs.
    let awake = units::stay_awake(root);
    if let Err(error) = &awake {
        reporter.warn(format!("sleep and shutdown cannot be held off meanwhile: {}", error.message()));
    }
    await_boot(root, reporter)?;
    let left = RunJournal::left(&run_dir, &request.words())?;
    let recovered = left.map(|journal| close::end_left(root, &run_dir, journal, reporter)).transpose()?;
    if recovered.as_ref().is_some_and(|result| result.outcome == Outcome::Lost) {
        return Ok(HostEvent::GoesDown);
    }
    run_dir.prune(&request.run);
    let HostCommand::Switch(switch) = &request.command else {
        return Ok(HostEvent::End(
            recovered.unwrap_or_else(|| close::result(root, request, &Ended::with(Outcome::Nothing))),
        ));
    };
    // The rollback failed: nothing more is changed until an operator has looked.
    if let Some(result) = recovered.filter(|result| result.outcome == Outcome::NeedsOperator) {
        return Ok(HostEvent::End(result));
    }
    // Its journal would be taken for that of the run that has ended.
    if run_dir::result(root, &request.run)?.is_some() {
        return Err(Error::usage(format!(
            "run {} has ended on this machine; a run has a name of its own",
            request.run
        )));
    }
    let ended = switch
        .link
        .as_deref()
        .map_or(Ok(()), |to| etc_nixos::prepare(root, to))
        .and_then(|()| transaction::run(root, &run_dir, reporter, request, switch, user, rollback::go))
        .unwrap_or_else(|error| Ended::failed(Outcome::Failed, error));
    if ended.outcome == Outcome::Lost {
        return Ok(HostEvent::GoesDown);
    }
    let result = close::result(root, request, &ended);
    close::close(root, &run_dir, request, &result, reporter);
    Ok(HostEvent::End(result))
}

/// Waits until the machine has booted, at most for `BOOT`.
///
/// Fails if this process is asked to stop while it waits. Nothing has begun then; the next run handles an interrupted
/// one.
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
