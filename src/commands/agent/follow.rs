//! Replays the log of a run and follows the run to its end.

use std::time::{Duration, Instant};

use crate::adapters::fs::root::Root;
use crate::adapters::host::{closure, run_dir, units};
use crate::commands::agent::events::Reporter;
use crate::domain::deploy::protocol::HostEvent;
use crate::error::{Error, Kind, Result};

/// How often the log of a running run is read.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for the recovery of a killed run, by its own unit or by that of the running system.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same, if the system has a unit that recovers runs at boot.
const BOOT: Duration = Duration::from_secs(150);

/// Follows a run and returns its last event. An empty name selects the newest run.
pub fn run(root: &Root, name: &str, reporter: &Reporter) -> Result<HostEvent> {
    let name = if name.is_empty() { run_dir::newest(root) } else { Some(name.to_owned()) };
    let name = name.ok_or_else(|| Error::failed("the host has no run yet"))?;
    let unknown = || {
        Error::failed(format!("the host has no run {name}"))
            .help("it never began, and nothing was changed; or it is too old to be kept")
    };
    let recovers = units::runs(root) && root.exists(&format!("{}/{}", closure::RUNNING, closure::RECOVERS));
    let patience = if recovers { BOOT } else { PATIENCE };
    let mut told = 0;
    let mut alone: Option<Instant> = None;
    loop {
        // Checked before the log is read: a run that has ended by then has written its whole log.
        let at_work = run_dir::is_held(root);
        let lines = run_dir::log(root, &name)?.ok_or_else(unknown)?;
        for event in lines.iter().skip(told) {
            match event {
                HostEvent::End(_) => return Ok(event.clone()),
                // From before the reboot; the run continues now.
                HostEvent::GoesDown => {}
                event => reporter.tell(event),
            }
        }
        told = lines.len();
        let since = alone.get_or_insert_with(Instant::now).elapsed();
        if at_work {
            alone = None;
        } else if let Some(result) = run_dir::result(root, &name)? {
            // The power was cut before the end reached the log.
            return Ok(HostEvent::End(result));
        } else if since > patience || !run_dir::is_unfinished(root) {
            return Err(Error::new(Kind::NeedsOperator, format!("run {name} was killed"))
                .help("the next deploy or rollback finishes it or goes back"));
        }
        std::thread::sleep(PAUSE);
    }
}
