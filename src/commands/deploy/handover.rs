//! Hands an order to the program on the host, and listens. The program is this one, started anew as root in a session of
//! its own: what happens here no longer ends it.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::preflight::Rights;
use crate::adapters::process::{Ended, Invocation};
use crate::adapters::rooted::Root;
use crate::adapters::{bench, files, signals};
use crate::commands::{Event, Talk};
use crate::error::{Error, Kind, Result};
use crate::fleet::name::HostName;
use crate::fleet::order::{Order, Outcome, Told, VERSION, Verdict, Work};

/// The verb under which the program on the host is started.
pub const VERB: &str = "host-run";

/// Who asks, and with which program.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `user@machine`.
    pub who: String,
    /// This program's own file.
    pub program: PathBuf,
}

impl Caller {
    /// An order of this caller.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn order(&self, root: &Root, host: Option<HostName>, work: Work) -> Result<Order> {
        let time = bench::now().replace([':', '-'], "");
        let run = format!("{time}-{}", files::token()?);
        Ok(Order { version: VERSION, run, who: self.who.clone(), root: root.path().to_owned(), host, work })
    }
}

/// Starts the program, and tells what it tells until it is done.
///
/// # Errors
/// When it could not be started, or ended without a verdict. What it came to otherwise is the verdict.
pub fn hand_over(order: &Order, rights: Rights, caller: &Caller, talk: &dyn Talk) -> Result<Verdict> {
    let mut line =
        serde_json::to_vec(order).map_err(|error| Error::new(Kind::Bug, "cannot write the order").because(error))?;
    line.push(b'\n');
    let call = Invocation::new(&caller.program).arg(VERB).input(line);
    let call = if rights == Rights::Sudo { call.under("sudo", &["--"]) } else { call };
    let (send, receive) = channel();
    let said = send.clone();
    std::thread::scope(|scope| {
        let program = scope.spawn(move || {
            // Nobody listens any more only when this side is ending.
            let printed = |text: &str| drop(send.send(Line::Printed(text.to_owned())));
            call.converse(printed, |text| drop(said.send(Line::Said(text.to_owned()))))
        });
        let (verdict, last) = listen(&receive, order, talk);
        let ended = program
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Bug, "the thread that listens to the host failed")))?;
        verdict.ok_or_else(|| lost(ended, &last, order))
    })
}

enum Line {
    Printed(String),
    Said(String),
}

/// Passes on what is told. Returns the verdict, and the last line that was no event.
fn listen(lines: &std::sync::mpsc::Receiver<Line>, order: &Order, talk: &dyn Talk) -> (Option<Verdict>, String) {
    let (mut verdict, mut last, mut warned) = (None, String::new(), false);
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(Line::Printed(text)) => match serde_json::from_str(&text) {
                Ok(Told::Step { text }) => talk.event(Event::Step(text)),
                Ok(Told::Said { text }) => talk.event(Event::Note(format!("  {text}"))),
                Ok(Told::Warning { text }) => talk.event(Event::Warning(text)),
                Ok(Told::End(end)) => verdict = Some(end),
                Err(_) => last = text,
            },
            Ok(Line::Said(text)) => {
                talk.event(Event::Note(format!("  {text}")));
                last = text;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return (verdict, last),
        }
        if signals::pending() && !warned {
            warned = true;
            talk.event(Event::Warning(format!(
                "the part on the host goes on to its end, or back, by itself (run {})",
                order.run
            )));
        }
    }
}

fn lost(ended: Ended, last: &str, order: &Order) -> Error {
    let error = Error::new(Kind::Person, format!("the part on the host ended without a verdict ({ended})"));
    let error = if last.is_empty() { error } else { error.because(last.to_owned()) };
    error
        .hint(format!("the next deploy or rollback finishes it or goes back; its log is {}", bench::log_of(&order.run)))
}

/// Has the host finish or take back what a killed run left. Says what it came to; none where there was nothing.
///
/// # Errors
/// When another run is at work, or the way back failed.
pub fn recover(root: &Root, rights: Rights, caller: &Caller, talk: &dyn Talk) -> Result<Option<Verdict>> {
    if !bench::is_unfinished(root) {
        return Ok(None);
    }
    if bench::is_held(root) {
        return Err(bench::busy(root));
    }
    let order = caller.order(root, None, Work::Recover)?;
    let verdict = hand_over(&order, rights, caller, talk)?;
    let unfinished = bench::is_unfinished(root) || verdict.outcome == Outcome::Person;
    match (verdict.outcome, &verdict.failure) {
        (_, Some(failure)) if unfinished => Err(failure.clone().into_error()),
        (Outcome::Nothing, _) => Ok(None),
        (Outcome::Done | Outcome::PendingReboot, _) => {
            talk.event(Event::Note("the interrupted deploy was finished".to_owned()));
            Ok(Some(verdict))
        }
        _ => {
            talk.event(Event::Note("the interrupted deploy was taken back".to_owned()));
            Ok(Some(verdict))
        }
    }
}
