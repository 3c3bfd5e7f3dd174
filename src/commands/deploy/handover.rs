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
        let heard = listen(&receive, order, talk);
        let ended = program
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Bug, "the thread that listens to the host failed")))?;
        match heard.verdict {
            Some(verdict) => Ok(verdict),
            None => Err(lost(ended, &heard, order)),
        }
    })
}

enum Line {
    Printed(String),
    Said(String),
}

/// What was heard of the part on the host.
#[derive(Debug, Default)]
struct Heard {
    /// How it ended.
    verdict: Option<Verdict>,
    /// Whether it told anything at all.
    begun: bool,
    /// The last line that was no event.
    last: String,
}

/// Passes on what is told, until nothing more can come.
fn listen(lines: &std::sync::mpsc::Receiver<Line>, order: &Order, talk: &dyn Talk) -> Heard {
    let (mut heard, mut warned) = (Heard::default(), false);
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(Line::Printed(text)) => match serde_json::from_str(&text) {
                Ok(told) => {
                    heard.begun = true;
                    match told {
                        Told::Step { text } => talk.event(Event::Step(text)),
                        Told::Said { text } => talk.event(Event::Note(format!("  {text}"))),
                        Told::Warning { text } => talk.event(Event::Warning(text)),
                        Told::End(end) => heard.verdict = Some(end),
                        Told::Awaits { .. } | Told::Survey(_) | Told::Generations(_) | Told::Verified(_) => {}
                    }
                }
                Err(_) => heard.last = text,
            },
            Ok(Line::Said(text)) => {
                talk.event(Event::Note(format!("  {text}")));
                heard.last = text;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return heard,
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

/// The failure of a part on the host that ended without a verdict. It tells before it changes anything: where it told
/// nothing, it never began, as when sudo refuses.
fn lost(ended: Ended, heard: &Heard, order: &Order) -> Error {
    let error = if heard.begun {
        Error::new(Kind::Person, format!("the part on the host ended without a verdict ({ended})")).hint(format!(
            "the next deploy or rollback finishes it or goes back; its log is {}",
            bench::log_of(&order.run)
        ))
    } else {
        Error::failed(format!("the part on the host could not be started ({ended}); nothing was changed"))
            .hint("run this as root, or as a user whom sudo lets do anything")
    };
    if heard.last.is_empty() { error } else { error.because(heard.last.clone()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_told_something_may_have_changed_something() {
        let order = Order {
            version: VERSION,
            run: "20260101T000000Z-test".to_owned(),
            who: "test@here".to_owned(),
            root: PathBuf::from("/"),
            host: None,
            work: Work::Recover,
        };
        let refused = Heard { last: "sudo: a password is required".to_owned(), ..Heard::default() };
        let error = lost(Ended::Code(1), &refused, &order);
        assert_eq!(error.kind(), Kind::Failed);
        assert!(error.message().contains("nothing was changed"), "{}", error.message());
        assert!(error.in_one_line().contains("a password is required"), "{}", error.in_one_line());
        let killed = Heard { begun: true, ..Heard::default() };
        assert_eq!(lost(Ended::Signal(9), &killed, &order).kind(), Kind::Person);
    }
}
