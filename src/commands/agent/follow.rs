//! Replays what a run reported, from its log, and goes on with it to its end.

use std::time::{Duration, Instant};

use crate::adapters::fs::root::Root;
use crate::adapters::host::{closure, run_dir, units};
use crate::commands::agent::events::Reporter;
use crate::domain::deploy::protocol::HostEvent;
use crate::error::{Error, Kind, Result};

/// How often a run that is at work is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a run that was killed may wait for what ends it: its unit, or that of the running system.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same while the machine boots, where a unit will do it.
const BOOT: Duration = Duration::from_secs(150);

/// Follows a run; an empty name is the newest. How it ended.
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
        // Looked at before the log is read: a run that ends now has written all of it.
        let at_work = run_dir::is_held(root);
        let lines = run_dir::log(root, &name)?.ok_or_else(unknown)?;
        for event in lines.iter().skip(told) {
            match event {
                HostEvent::End(_) => return Ok(event.clone()),
                // Of the boot before: it goes on now.
                HostEvent::GoesDown => {}
                event => reporter.tell(event),
            }
        }
        told = lines.len();
        let since = alone.get_or_insert_with(Instant::now).elapsed();
        if at_work {
            alone = None;
        } else if let Some(result) = run_dir::result(root, &name)? {
            // The power was cut before the end was in the log.
            return Ok(HostEvent::End(result));
        } else if since > patience || !run_dir::is_unfinished(root) {
            return Err(Error::new(Kind::NeedsOperator, format!("run {name} was killed"))
                .help("the next deploy or rollback finishes it or goes back"));
        }
        std::thread::sleep(PAUSE);
    }
}
