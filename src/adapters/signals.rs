//! Ctrl-C and termination as a flag that is looked at between two steps, so that a step is done or not begun.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Kind, Result};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT, SIGTERM and SIGHUP set the flag instead of ending the process at once.
pub fn listen() {
    let flag = FLAG.get_or_init(Arc::default);
    // A file that may grow no further is an error of the write, and no reason to die in the middle of it.
    drop(signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        // Registering can fail only for signals that cannot be caught.
        drop(signal_hook::flag::register(signal, Arc::clone(flag)));
    }
}

pub fn pending() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Ends the work between two steps.
pub fn check() -> Result<()> {
    if pending() { Err(interrupted()) } else { Ok(()) }
}

/// What a verb ends with after Ctrl-C.
pub fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted")
}
