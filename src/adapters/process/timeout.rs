//! Calls to external programs and services that may never answer, with a time limit. Ctrl-C is handled while waiting.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::adapters::signals;
use crate::domain::guarded::guarded;
use crate::error::{Error, Result};

/// How often a waiting call checks for Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `work` on its own thread and waits until it is done or `late` returns true. Late work is abandoned: it ends
/// with the process.
///
/// Fails with `Interrupted` on Ctrl-C, or if `what` did not answer in time.
pub fn call<T: Send + 'static>(
    what: &str,
    late: impl Fn(Instant) -> bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (done, answer) = mpsc::sync_channel(1);
    let started = Instant::now();
    let thread = std::thread::Builder::new().spawn(move || {
        if let Some(answer) = guarded(work) {
            // After a timeout nobody receives.
            let _late = done.send(answer);
        }
    });
    drop(thread.map_err(|error| Error::io(format!("cannot ask {what}"), error))?);
    loop {
        match answer.recv_timeout(LOOK) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::failed(format!("{what} failed"))),
            Err(RecvTimeoutError::Timeout) => signals::check()?,
        }
        if late(started) {
            return Err(Error::failed(format!("{what} does not answer")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_and_silence_ends() {
        assert_eq!(call("x", |_| false, || 7).unwrap(), 7);
        let late = |since: Instant| since.elapsed() > Duration::from_millis(60);
        let error = call("x", late, || std::thread::sleep(Duration::from_secs(600))).unwrap_err();
        assert_eq!(error.message(), "x does not answer");
    }
}
