//! Makes a system the running one, or restores the previous state. Each step is recorded before it is carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapters::fs::root::Root;
use crate::adapters::host::ack::Fifo;
use crate::adapters::host::activation::{Activation, Program, activate};
use crate::adapters::host::run_dir::RunDir;
use crate::adapters::host::{closure, home, profile, unit_log, units};
use crate::adapters::signals;
use crate::commands::agent::checks::{self, Worse};
use crate::commands::agent::events::Reporter;
use crate::commands::agent::gc_roots;
use crate::commands::agent::heard::Heard;
use crate::commands::agent::journal::{RunJournal, Saved, Step};
use crate::commands::agent::keep::{self, Kept};
use crate::commands::agent::secrets::Delivery;
use crate::commands::agent::switch::{self, activated, installs, manifest};
use crate::domain::deploy::diff::{Action, Facts};
use crate::domain::deploy::protocol::{HostEvent, HostRequest, Look, Outcome, Profile, Switch};
use crate::domain::deploy::switched::Switched;
use crate::domain::name::UnitName;
use crate::domain::policy::Probe;
use crate::error::{Error, Kind, Result};

/// How often to check for a signal to stop.
const LOOK: Duration = Duration::from_millis(250);

/// A run on one machine.
pub struct Transaction<'a> {
    pub root: &'a Root,
    pub run_dir: &'a RunDir,
    pub reporter: Arc<Reporter>,
    pub journal: RunJournal,
    /// The facts of the system to activate.
    pub facts: Facts,
    /// The id of the user who may acknowledge.
    pub user: u32,
    /// The last journal lines of failed units.
    pub unit_log: Vec<String>,
}

/// Rolls back because of an error, and returns how the run ended.
pub type Back = fn(&mut Transaction<'_>, Error) -> Ended;

/// How a run ended, with the failure if there is one.
pub struct Ended {
    pub outcome: Outcome,
    pub failure: Option<Error>,
    /// The last journal lines of failed units.
    pub unit_log: Vec<String>,
}

impl Ended {
    pub fn with(outcome: Outcome) -> Self {
        Self { outcome, failure: None, unit_log: Vec::new() }
    }

    pub fn failed(outcome: Outcome, failure: Error) -> Self {
        Self { failure: Some(failure), ..Self::with(outcome) }
    }

    /// The run is not over: the machine is shutting down, and its next boot finds the journal.
    pub fn later() -> Self {
        Self::with(Outcome::Lost)
    }
}

/// Carries out a request to switch.
///
/// An error means that nothing was begun: the system is invalid, the plan no longer applies, or a secret does not open.
pub fn run(
    root: &Root,
    run_dir: &RunDir,
    reporter: &Arc<Reporter>,
    request: &HostRequest,
    switch: &Switch,
    user: u32,
    back: Back,
) -> Result<Ended> {
    let facts = switch::sound(root, switch)?;
    if switch.action == Action::DryActivate {
        return dry(root, reporter, switch);
    }
    let delivery = manifest(root, switch).filter(|_| !switch.only_homes);
    let delivery = delivery.map(|manifest| (manifest, Arc::clone(reporter)));
    if let Some((manifest, talk)) = &delivery {
        reporter.step("opening and checking the secrets");
        let now = installs(root, switch, &facts, switch.expected.is_none());
        reporter.said(&Delivery { root, manifest, talk: talk.clone() }.stage(now)?);
    }
    let saved = Saved::of(root, &activated(root, switch), &switch.homes)?;
    gc_roots::keep(root, switch, &saved)?;
    let journal = RunJournal::new(root, request, saved);
    let reporter = Arc::clone(reporter);
    let mut transaction = Transaction { root, run_dir, reporter, journal, facts, user, unit_log: Vec::new() };
    let mut ended = transaction.carry_out(switch, back);
    ended.unit_log = transaction.unit_log;
    Ok(ended)
}

fn dry(root: &Root, reporter: &Arc<Reporter>, switch: &Switch) -> Result<Ended> {
    let system = activated(root, switch);
    let activation =
        Activation { system: &system, action: Action::DryActivate, checked: true, engine: Program::Native };
    match activate(root, activation, |line| reporter.said(line))? {
        Switched::Done | Switched::NeedsReboot => Ok(Ended::with(Outcome::Nothing)),
        other => Err(Error::failed(other.judge(None).err().unwrap_or_default())),
    }
}

impl Transaction<'_> {
    /// Calls the function of this name for this run.
    pub fn installs(&self, switch: &Switch) -> bool {
        installs(self.root, switch, &self.facts, self.journal.saved.system.is_none())
    }

    fn carry_out(&mut self, switch: &Switch, back: Back) -> Ended {
        let live = switch.live && matches!(switch.action, Action::Test | Action::Switch);
        match self.forward(switch, live) {
            Ok(()) => {
                let runs = self.root.store_path(closure::RUNNING) == Some(activated(self.root, switch));
                Ended::with(if runs || switch.action == Action::Test { Outcome::Done } else { Outcome::PendingReboot })
            }
            Err(error) => back(self, error),
        }
    }

    fn forward(&mut self, switch: &Switch, live: bool) -> Result<()> {
        let host = self.journal.request.host.clone();
        let engine = Program::choose(switch.engine, self.root)?;
        let (checks, before) = if live { self.checks(switch)? } else { Default::default() };
        for (name, wrong) in before.iter().filter_map(|(name, wrong)| Some((name, wrong.as_ref()?))) {
            self.reporter.warn(format!("check {name} fails already: {wrong}"));
        }
        if self.installs(switch) {
            self.step(Step::Install, "putting the secrets in place")?;
            self.install(switch)?;
        }
        if live && !switch.only_homes {
            self.step(Step::Activate, "activating the system")?;
            let system = activated(self.root, switch);
            let activation = Activation { system: &system, action: Action::Test, checked: true, engine };
            let reporter = Arc::clone(&self.reporter);
            let heard = Heard::new(&reporter);
            let switched = activate(self.root, activation, |line| heard.line(line));
            if switched.is_err() {
                heard.end(&[]);
            }
            let switched = switched?;
            let judged = self.judge(&switched);
            if judged.is_err() {
                // The output of the switch is not trusted alone: journals are read only of units that systemd lists as
                // failed.
                let failing = units::listed_as_failing(self.root).unwrap_or_default();
                let failed = switched.newly_failed(self.journal.saved.failed.as_ref());
                self.unit_log = self.last_lines(failed.filter(|unit| failing.contains(*unit)));
            }
            heard.end(&self.unit_log);
            judged?;
            self.keep_values(switch)?;
        }
        if live {
            self.switch_homes(switch)?;
            self.step(Step::Verify, "checking the result")?;
            let settle = Duration::from_secs(switch.settle);
            if let Err(Worse { error, units }) = checks::compare(self.root, host.as_ref(), &checks, &before, settle) {
                self.unit_log = self.last_lines(units.iter().map(UnitName::as_str));
                return Err(error);
            }
        }
        // The deployer reconnects while the rest is done here: the remaining steps do not touch the network.
        let fifo = match switch.acknowledge {
            Some(seconds) if live => Some((self.open_door(seconds)?, seconds, Instant::now())),
            _ => None,
        };
        if switch.action != Action::Test {
            self.make_default(switch)?;
        }
        fifo.map_or(Ok(()), |(fifo, seconds, since)| self.await_acknowledgement(&fifo, seconds, since))
    }

    fn last_lines<'b>(&self, units: impl Iterator<Item = &'b str>) -> Vec<String> {
        unit_log::last_lines(self.root, units, &|line| self.reporter.without(line))
    }

    /// Switches homes that are not part of the system, each as its user.
    fn switch_homes(&mut self, switch: &Switch) -> Result<()> {
        for home in &switch.homes {
            self.step(Step::Home, &format!("switching the home of {}", home.user))?;
            home::activate(self.root, &home.user, &home.package, |line| self.reporter.said(line))
                // The rollback reports only the message.
                .map_err(|error| Error::new(Kind::RolledBack, error.in_one_line()))?;
        }
        Ok(())
    }

    /// Returns the checks to run after the switch, and their results now. A check whose command is new or changed has
    /// no earlier result, so it must pass.
    fn checks(&self, switch: &Switch) -> Result<(Vec<Look>, checks::Findings)> {
        let running = self.journal.saved.system.as_deref();
        let mut coming = checks::of_system(self.root, Some(&activated(self.root, switch)), &switch.checks)?;
        for lost in coming.extract_if(.., |look| look.probe == Probe::Deployed) {
            self.reporter.warn(format!("check {} is not run: the system does not have its command", lost.name));
        }
        let now = checks::of_system(self.root, running, &switch.checks)?;
        let same: Vec<Look> = now.into_iter().filter(|look| coming.contains(look)).collect();
        let before = checks::look(self.root, self.journal.request.host.as_ref(), &same);
        Ok((coming, before))
    }

    fn open_door(&self, seconds: u64) -> Result<Fifo> {
        let fifo = Fifo::open(self.root, &self.journal.request.run, self.user)?;
        self.reporter.tell(&HostEvent::Awaits { seconds });
        Ok(fifo)
    }

    /// Waits until the deployer has reconnected. A system that cannot be reached any more is not kept.
    fn await_acknowledgement(&mut self, fifo: &Fifo, seconds: u64, since: Instant) -> Result<()> {
        self.step(Step::Acknowledge, "waiting to be reached over a new connection")?;
        let end = since + Duration::from_secs(seconds);
        // A signal, from a shutdown or a user, ends the wait.
        while Instant::now() < end && !signals::pending() {
            if fifo.wait(LOOK.min(end.saturating_duration_since(Instant::now())))? {
                return Ok(());
            }
        }
        if signals::pending() {
            return Err(Error::new(Kind::RolledBack, "it was stopped before the deployer had reconnected"));
        }
        Err(Error::new(Kind::RolledBack, format!("the deployer did not reconnect within {seconds} s"))
            .help("does its network come up with the new system, and sshd? `--acknowledge SECONDS` waits longer"))
    }

    /// Compares the result of a switch with the units that had failed before it.
    pub fn judge(&self, switched: &Switched) -> Result<()> {
        match switched.judge(self.journal.saved.failed.as_ref()) {
            Ok(notes) => {
                notes.iter().for_each(|note| self.reporter.warn(note));
                Ok(())
            }
            // This error kind tells `rollback` that nothing was changed: another switch holds the lock.
            Err(why) if *switched == Switched::Busy => {
                Err(Error::failed(why).help("wait until it is done, and run this again"))
            }
            Err(why) => Err(Error::new(Kind::RolledBack, why)),
        }
    }

    /// Sets the profile and the boot default to the system.
    pub fn make_default(&mut self, switch: &Switch) -> Result<()> {
        self.step(Step::Profile, "setting the profiles")?;
        if switch.live && matches!(switch.action, Action::Test | Action::Switch) {
            for home in &switch.homes {
                home::set(self.root, &home.user, &home.package, home.generation)?;
            }
        }
        if switch.only_homes {
            return Ok(());
        }
        let engine = Program::choose(switch.engine, self.root)?;
        match switch.profile {
            Profile::New => profile::set(self.root, &switch.system)?,
            Profile::Generation(number) => profile::switch(self.root, number)?,
        }
        self.step(Step::Boot, "making it the boot default")?;
        let switched =
            self.patiently(Activation { system: &switch.system, action: Action::Boot, checked: true, engine })?;
        match switched {
            Switched::Done => Ok(()),
            other => Err(Error::new(
                Kind::RolledBack,
                format!("it cannot be made the boot default: {}", other.judge(None).err().unwrap_or_default()),
            )),
        }
    }

    /// Activates a system, waiting while another switch holds the lock. For steps that no user should have to repeat.
    pub fn patiently(&self, activation: Activation<'_>) -> Result<Switched> {
        for _ in 0..60 {
            let switched = activate(self.root, activation, |line| self.reporter.said(line))?;
            if switched != Switched::Busy {
                return Ok(switched);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(Switched::Busy)
    }

    fn install(&self, switch: &Switch) -> Result<()> {
        let Some(manifest) = manifest(self.root, switch) else { return Ok(()) };
        if let Some(bundle) = &switch.bundle {
            gc_roots::point(self.root, &closure::bundle(&activated(self.root, switch)), bundle)?;
        }
        let talk = self.reporter.clone();
        Delivery { root: self.root, manifest: &manifest, talk }.install()
    }

    /// Delivers the newest values in place of those that the system has just installed.
    fn keep_values(&self, switch: &Switch) -> Result<()> {
        keep::forget(self.root)?;
        let kept = if switch.keep_values { keep::manifest(self.root, &activated(self.root, switch))? } else { None };
        let Some((manifest, kept)) = kept else { return Ok(()) };
        for Kept { name, serials: (own, newest) } in kept {
            self.reporter.said(&format!("{name} stays at version {newest}; this system has version {own}"));
        }
        Delivery { root: self.root, manifest, talk: self.reporter.clone() }.install()
    }

    /// Records in the journal that a step begins, then reports it.
    ///
    /// Fails if the journal cannot be written; the step must not begin then.
    pub fn step(&mut self, step: Step, text: &str) -> Result<()> {
        self.journal.reached = step;
        self.journal.write(self.run_dir)?;
        self.reporter.step(text);
        Ok(())
    }
}
