//! Sends a request to the program on the host and reads its events until it ends: on this machine, or over SSH, where
//! the connection may be lost and an acknowledgement over a new connection is the last step.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::adapters::host::{closure, run_dir};
use crate::adapters::process::{Ended, Invocation};
use crate::adapters::signals;
use crate::commands::agent::caller::Caller;
use crate::commands::hosts::connection::{Target, Transport};
use crate::commands::hosts::privilege::Rights;
use crate::commands::hosts::remote::RemoteHost;
use crate::commands::hosts::{bootstrap, ready};
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::host_facts::Question;
use crate::domain::deploy::protocol::{self, DeployResult, HostCommand, HostEvent, HostRequest, Outcome};
use crate::domain::foreign::{self, cut};
use crate::error::{Error, Kind, Result};

/// How long to look for a lost host, in addition to its acknowledgement timeout.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a host that reboots.
const BOOT: Duration = Duration::from_secs(300);
/// The limit of lines passed on that are not events. A host that prints without end must not fill the terminal.
const FOREIGN: usize = 200;
/// The limits of events shown, by number and by bytes.
const EVENTS: usize = 2000;
const TOLD: usize = 1 << 20;
/// How many lines are read ahead of their display.
const AHEAD: usize = 64;

/// Sends a request and reports the host's events until it ends.
pub fn hand_over(
    target: &Target,
    request: &HostRequest,
    rights: &Rights,
    caller: &Caller,
    talk: &dyn Talk,
) -> Result<DeployResult> {
    let call = target.call(rights, caller, request)?;
    let (mut heard, ended) = converse(target, &call, &request.run, talk).map_err(|error| match error.kind() {
        Kind::Unreachable => unreachable(target, &request.run).because(error.in_one_line()),
        _ => error,
    })?;
    match (heard.result.take(), &target.transport) {
        (Some(result), _) => Ok(result),
        (None, _) if signals::pending() => Err(lost(target, ended, &heard, &request.run)),
        (None, Transport::Remote(remote)) if heard.begun || remote.connection().lost(ended) => {
            let what = match (heard.goes_down, remote.connection().lost(ended)) {
                (true, _) => "the host is going down; its next boot goes on",
                (false, true) => "the connection was lost; the host goes on by itself, and is looked for",
                (false, false) => "the part on the host was ended; what it began is finished or taken back",
            };
            talk.event(Event::Warning(what.to_owned()));
            let patience = if heard.goes_down { BOOT } else { PATIENCE };
            rejoin(target, remote, request, patience, rights, caller, talk)
        }
        (None, Transport::Local(_)) if heard.begun && !heard.goes_down => {
            follow(target, &request.run, rights, caller, talk)
        }
        (None, _) => Err(lost(target, ended, &heard, &request.run)),
    }
}

/// Replays the events of a run on the host and follows the run to its end.
pub fn follow(target: &Target, run: &str, rights: &Rights, caller: &Caller, talk: &dyn Talk) -> Result<DeployResult> {
    let request = target.request(caller, HostCommand::Follow(run.to_owned()))?;
    let (mut heard, ended) = converse(target, &target.call(rights, caller, &request)?, run, talk)?;
    heard.result.take().ok_or_else(|| lost(target, ended, &heard, run))
}

/// Returns for how many seconds the host waits for the acknowledgement.
fn waits(request: &HostRequest) -> Option<u64> {
    match &request.command {
        HostCommand::Switch(switch) => switch.acknowledge,
        _ => None,
    }
}

/// Reconnects to a lost host and follows the run. The host does not wait for this.
fn rejoin(
    target: &Target,
    remote: &RemoteHost,
    request: &HostRequest,
    patience: Duration,
    rights: &Rights,
    caller: &Caller,
    talk: &dyn Talk,
) -> Result<DeployResult> {
    let end = Instant::now() + patience + Duration::from_secs(waits(request).unwrap_or(0));
    loop {
        let tried = remote.reconnect().and_then(|()| follow(target, &request.run, rights, caller, talk));
        match tried {
            Err(error) if error.kind() == Kind::Unreachable && Instant::now() < end && !signals::pending() => {
                // A refused connection fails at once; the machine may still be booting.
                std::thread::sleep(Duration::from_millis(500));
            }
            Err(error) if error.kind() == Kind::Unreachable => {
                return Err(unreachable(target, &request.run).because(error.in_one_line()));
            }
            other => return other,
        }
    }
}

enum Line {
    Printed(String),
    Said(String),
}

/// What the program on the host has sent.
#[derive(Debug, Default)]
struct Heard {
    result: Option<DeployResult>,
    /// Whether it sent any event.
    begun: bool,
    /// Whether the host is shutting down.
    goes_down: bool,
    /// The last line that was not an event.
    last: String,
}

/// Runs the call and reads its output.
fn converse(target: &Target, call: &Invocation, run: &str, talk: &dyn Talk) -> Result<(Heard, Ended)> {
    let (send, receive) = sync_channel(AHEAD);
    let said = send.clone();
    std::thread::scope(|scope| {
        let program = scope.spawn(move || start(call, send, said));
        let heard = listen(&receive, target, run, talk);
        let ended = program
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Bug, "the thread that listens to the host failed")))?;
        Ok((heard, ended))
    })
}

fn start(call: &Invocation, send: SyncSender<Line>, said: SyncSender<Line>) -> Result<Ended> {
    // The receiver is gone only if this process is ending.
    let printed = move |text: &str| drop(send.send(Line::Printed(text.to_owned())));
    call.converse(printed, move |text| drop(said.send(Line::Said(text.to_owned()))))
}

/// Reports the events until the output ends. The output is not trusted, neither in content nor in length.
fn listen(lines: &Receiver<Line>, target: &Target, run: &str, talk: &dyn Talk) -> Heard {
    let (mut heard, mut warned, mut foreign, mut told) = (Heard::default(), false, 0, (0, 0));
    std::thread::scope(|scope| {
        let mut coming: Option<ScopedJoinHandle<'_, ()>> = None;
        loop {
            match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(Line::Printed(text)) => match HostEvent::heard(&text) {
                    Some(event) => {
                        heard.begun = true;
                        let shown = told.0 <= EVENTS && told.1 <= TOLD;
                        told = (told.0 + 1, told.1 + text.len());
                        let enough = told.0 > EVENTS || told.1 > TOLD;
                        if shown && enough {
                            let log = run_dir::log_of(run);
                            talk.event(Event::Warning(format!(
                                "it printed more than is shown here: its log is {log} there"
                            )));
                        }
                        match event {
                            HostEvent::Awaits { seconds } => {
                                if let Transport::Remote(remote) = &target.transport
                                    && coming.as_ref().is_none_or(ScopedJoinHandle::is_finished)
                                {
                                    // In a thread of its own, because the old connection may still send events.
                                    coming = Some(scope.spawn(move || acknowledge(remote, run, seconds, talk)));
                                }
                            }
                            HostEvent::End(end) => heard.result = Some(end),
                            HostEvent::GoesDown => heard.goes_down = true,
                            _ if enough => {}
                            HostEvent::Step { text } => talk.event(Event::Step(text)),
                            HostEvent::Said { text } => talk.event(Event::Note(format!("  {text}"))),
                            HostEvent::Warning { text } => talk.event(Event::Warning(text)),
                            // Answers to queries, which are not expected here.
                            HostEvent::Survey(_)
                            | HostEvent::Generations(_)
                            | HostEvent::Verified(_)
                            | HostEvent::Examined(_) => {}
                        }
                    }
                    None => heard.last = cut(&text, foreign::LONGEST),
                },
                Ok(Line::Said(text)) if is_echo(&text) => {}
                Ok(Line::Said(text)) => {
                    let text = cut(&text, foreign::LONGEST);
                    foreign += 1;
                    if foreign <= FOREIGN {
                        talk.event(Event::Note(format!("  {text}")));
                    }
                    heard.last = text;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return heard,
            }
            if signals::pending() && !warned {
                warned = true;
                talk.event(Event::Warning(format!("the part on the host finishes or goes back by itself (run {run})")));
            }
        }
    })
}

/// Whether a line only says that the program on the host failed, as systemd-inhibit reports for every program. The
/// program itself has reported the cause.
fn is_echo(line: &str) -> bool {
    let program = line.split_once(" failed with exit status ").map(|(program, _)| program);
    program.is_some_and(|program| {
        [closure::PROGRAM, bootstrap::STORED, "bin/sealift"].iter().any(|ours| program.ends_with(ours))
    })
}

/// Acknowledges over a new connection, retrying until the timeout.
fn acknowledge(remote: &RemoteHost, run: &str, seconds: u64, talk: &dyn Talk) {
    let end = Instant::now() + Duration::from_secs(seconds.min(protocol::LONGEST));
    talk.event(Event::Step("acknowledging over a new connection".to_owned()));
    // Reaching the host is enough: if it no longer waits, its result says why.
    while Instant::now() < end && !signals::pending() && !remote.acknowledge(run).is_ok_and(|reached| reached) {
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Returns the error for a lost connection.
fn unreachable(target: &Target, run: &str) -> Error {
    Error::new(Kind::Unreachable, format!("the connection to {} was lost", target.shown())).help(format!(
        "the host finishes or goes back by itself; `sealift deploy{} --attach {run}` shows which",
        target.words()
    ))
}

/// Returns the error for a program on the host that ended without a result. It reports an event before any change, so
/// without an event it never began, for example because sudo refused.
fn lost(target: &Target, ended: Ended, heard: &Heard, run: &str) -> Error {
    if target.is_remote() && signals::pending() {
        // Ctrl-C reaches ssh too.
        return Error::new(
            Kind::Interrupted,
            format!("interrupted; {} finishes or goes back by itself", target.shown()),
        )
        .help(format!("`sealift deploy{} --attach {run}` joins it again", target.words()));
    }
    let gone = matches!(&target.transport, Transport::Remote(remote) if remote.connection().lost(ended));
    let error = match (gone, heard.begun) {
        (true, true) => unreachable(target, run),
        (true, false) => Error::new(
            Kind::Unreachable,
            format!("the connection to {} was lost before anything began", target.shown()),
        )
        .help(format!(
            "nothing was changed, as far as can be seen from here; `sealift deploy{} --attach {run}` makes sure",
            target.words()
        )),
        (false, true) => {
            Error::new(Kind::NeedsOperator, format!("the part on the host ended without a result ({ended})")).help(
                format!("the next deploy or rollback finishes it or goes back; its log is {}", run_dir::log_of(run)),
            )
        }
        (false, false) => Error::failed(format!(
            "the part on the host could not be started ({ended}); nothing was changed"
        ))
        .help(if target.is_remote() {
            "log in there as root, or as a user who may run anything with sudo"
        } else {
            "run this as root, or as a user who may run anything with sudo"
        }),
    };
    if heard.last.is_empty() { error } else { error.because(heard.last.clone()) }
}

/// Makes the host finish or roll back an interrupted run, then surveys it again. Returns the result, or none if there
/// was nothing to do.
pub fn recover(target: &mut Target, rights: &Rights, caller: &Caller, talk: &dyn Talk) -> Result<Option<DeployResult>> {
    if !target.survey.unfinished {
        return Ok(None);
    }
    if let Some(holder) = &target.survey.busy {
        return Err(ready::busy(target, holder));
    }
    let request = target.request(caller, HostCommand::Recover)?;
    let result = hand_over(target, &request, rights, caller, talk)?;
    target.survey = target.survey(caller, Question::default())?;
    let unfinished = target.survey.unfinished || result.outcome == Outcome::NeedsOperator;
    match (result.outcome, &result.failure) {
        (_, Some(failure)) if unfinished => Err(failure.clone().into_error().about(target.shown())),
        (Outcome::Nothing, _) => Ok(None),
        (Outcome::Done | Outcome::PendingReboot, _) => {
            talk.event(Event::Note("the interrupted deploy was finished".to_owned()));
            Ok(Some(result))
        }
        _ => {
            talk.event(Event::Note("the interrupted deploy was rolled back".to_owned()));
            Ok(Some(result))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_echoes_our_own_part_is_not_told_again() {
        assert!(is_echo("/nix/store/x-nixos/etc/sealift/host failed with exit status 1."));
        for program in ["sealift/bin/sealift", "sealift-host/bin/sealift-host"] {
            assert!(is_echo(&format!("/nix/store/x-{program} failed with exit status 6.")));
        }
        assert!(!is_echo("/usr/bin/systemctl failed with exit status 1."));
        assert!(!is_echo("/nix/store/x-nixos/etc/sealift/host terminated by signal KILL."));
    }
}
