//! Ctrl-C and termination as a flag that is checked between steps, so that each step is completed or not started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Kind, Result};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Makes SIGINT, SIGTERM and SIGHUP set the flag instead of ending the process at once.
pub fn listen() {
    let flag = FLAG.get_or_init(Arc::default);
    // Exceeding the file size limit must be a write error, not kill the process in the middle of a write.
    drop(signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        // Fails only for signals that cannot be caught.
        drop(signal_hook::flag::register(signal, Arc::clone(flag)));
    }
}

pub fn pending() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Fails with `Interrupted` if a signal came.
pub fn check() -> Result<()> {
    if pending() { Err(interrupted()) } else { Ok(()) }
}

/// The error after Ctrl-C.
pub fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted")
}
