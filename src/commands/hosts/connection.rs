//! One machine and how it is reached: this one, or another over SSH. The same is asked of both, by the same orders.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::adapters::fs::root::Root;
use crate::adapters::process::{Ended, Invocation, Output};
use crate::adapters::ssh::{Connection, Ssh};
use crate::commands::agent::caller::Caller;
use crate::commands::agent::launch::VERB;
use crate::commands::agent::survey;
use crate::commands::hosts::bootstrap;
use crate::commands::hosts::identify::is_here;
use crate::commands::hosts::privilege::Rights;
use crate::commands::talk::Talk;
use crate::domain::address::{self, Address};
use crate::domain::deploy::host_facts::{Question, Survey};
use crate::domain::deploy::protocol::{HostCommand, HostEvent, HostRequest, LONGEST};
use crate::domain::doctor::machine::Machine;
use crate::domain::name::HostName;
use crate::domain::policy::{Host, Policy};
use crate::error::{Error, Kind, Result};

/// What is said of hosts that no deploy has reached.
const NOTHING_THERE: &str = "nothing of sealift is there yet; the first deploy brings it";

/// Whether a failure says that no deploy has reached the host.
pub fn is_never_deployed(error: &Error) -> bool {
    error.gist() == Some(NOTHING_THERE)
}

/// How long a host may take to say how it is.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take for what is no switch, such as its checks, of which each has its own time.
const WORK: Duration = Duration::from_secs(600);
/// How long it may say nothing while it switches: longer than it waits for anything itself.
const SILENCE: Duration = Duration::from_secs(LONGEST + 600);

/// A machine that was looked at.
pub struct Target {
    /// Its name in the policy; none where it has none.
    pub host: Option<HostName>,
    pub reach: Reach,
    /// How it was when it was looked at.
    pub survey: Survey,
    /// Whether sudo there is known to ask nothing.
    sudo: bool,
}

/// How a machine is reached.
pub enum Reach {
    /// It is this one, or a root directory on it.
    Here(Root),
    There(Box<There>),
}

pub struct There {
    ssh: Arc<Ssh>,
    host: HostName,
    address: Address,
    pins: Vec<String>,
    /// Where it is reached after the switch, if elsewhere than now.
    later: Mutex<Option<Address>>,
    /// The connection that all calls share; another one after it was lost.
    line: Mutex<Arc<Connection>>,
    /// The program of ours there.
    pub program: String,
}

impl Target {
    /// This machine, or a root directory on it.
    pub fn here(root: Root, host: Option<HostName>) -> Result<Self> {
        let survey = survey::of(&root, &Question::default())?;
        Ok(Self { host, reach: Reach::Here(root), survey, sudo: false })
    }

    /// The words that name it in a command, each with a space before it: advice is for this machine, and no other.
    pub fn words(&self) -> String {
        let root = match &self.reach {
            Reach::Here(root) => root.path(),
            Reach::There(_) => Path::new("/"),
        };
        address::words(self.host.as_ref(), root)
    }

    /// Another machine. `bring`: whether a program may be brought where there is none of ours. `root`: whether root will be
    /// needed; then sudo is tried beside the first look.
    ///
    /// Fails with `Unreachable` when it is not there, or not who it should be.
    pub fn there(
        ssh: &Arc<Ssh>,
        name: &HostName,
        host: &Host,
        caller: &Caller,
        bring: Option<&bootstrap::Brought>,
        root: bool,
    ) -> Result<Self> {
        let connection = ssh.connect(name, &host.address, &host.ssh_keys)?;
        let mut there = There {
            ssh: Arc::clone(ssh),
            host: name.clone(),
            address: host.address.clone(),
            pins: host.ssh_keys.clone(),
            later: Mutex::new(None),
            line: Mutex::new(Arc::new(connection)),
            program: bootstrap::RUNNING.to_owned(),
        };
        let request = caller.request(Path::new("/"), Some(name.clone()), HostCommand::Survey(Question::default()))?;
        let ask = |there: &There| there.look(&Rights::Root, &request).map(Result::ok);
        // It is not there before the first deploy, and may speak an older protocol.
        let (first, sudo) = std::thread::scope(|scope| {
            // What it says of itself as root is not asked for: which users its nix trusts is said as who logs in.
            let sudo = root.then(|| scope.spawn(|| there.lets(&Rights::Sudo, &request)));
            (ask(&there), sudo.is_some_and(|sudo| sudo.join().unwrap_or(false)))
        });
        let survey = match (first?, bring) {
            (Some(survey), _) => survey,
            (None, None) => {
                return Err(Error::failed(format!("{name} is up, and nothing of sealift is there yet"))
                    .alike(NOTHING_THERE)
                    .help(format!("the first `sealift deploy {name}` brings it")));
            }
            (None, Some(brought)) => {
                there.program = bootstrap::bring(brought, name, &there.line(), caller)?;
                ask(&there)?.ok_or_else(|| {
                    Error::failed(format!("the program that was brought to {name} does not run there"))
                        .help(bootstrap::HELP)
                })?
            }
        };
        Ok(Self { host: Some(name.clone()), reach: Reach::There(Box::new(there)), survey, sudo })
    }

    /// The machine that a name of the policy stands for: this one where it is this one.
    pub fn of(
        policy: &Policy,
        name: &HostName,
        ssh: &Arc<Ssh>,
        caller: &Caller,
        bring: Option<&bootstrap::Brought>,
        root: bool,
    ) -> Result<Self> {
        let host = policy.host(name)?;
        if is_here(host) {
            return Self::here(Root::open(Path::new("/"))?, Some(name.clone()));
        }
        Self::there(ssh, name, host, caller, bring, root)
    }

    /// As a person names it.
    pub fn shown(&self) -> String {
        self.host.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string)
    }

    /// The same, but a system that does not run by the folder that it is in.
    pub fn place(&self) -> String {
        match &self.reach {
            Reach::Here(root) if !root.is_machine() => root.path().display().to_string(),
            _ => self.shown(),
        }
    }

    /// Whether it is another machine.
    pub fn is_remote(&self) -> bool {
        matches!(self.reach, Reach::There(_))
    }

    /// A request of this caller for it.
    pub fn request(&self, caller: &Caller, command: HostCommand) -> Result<HostRequest> {
        let root = match &self.reach {
            Reach::Here(root) => root.path(),
            Reach::There(_) => Path::new("/"),
        };
        caller.request(root, self.host.clone(), command)
    }

    /// What the program there, as who logs in, can tell of the machine.
    pub fn examine(&self, caller: &Caller) -> Result<Machine> {
        match self.ask(&Rights::Root, caller, HostCommand::Examine)? {
            HostEvent::Examined(machine) => Ok(*machine),
            _ => Err(out_of_form(self)),
        }
    }

    /// Asks something that needs no root, or, with rights, something that does.
    pub fn ask(&self, rights: &Rights, caller: &Caller, command: HostCommand) -> Result<HostEvent> {
        let request = self.request(caller, command)?;
        let call = self.call(rights, caller, &request)?;
        let output = call.run()?;
        match (last(&output), &self.reach) {
            (Some(HostEvent::End(result)), _) => match result.failure {
                Some(failure) => Err(failure.into_error().about(self.shown())),
                None => Ok(HostEvent::End(result)),
            },
            (Some(told), _) => Ok(told),
            (None, Reach::There(there)) => Err(there.line().failure(&output)),
            (None, Reach::Here(_)) => Err(call.failure(&output).about(self.shown())),
        }
    }

    /// Looks again, with a question.
    pub fn survey(&self, caller: &Caller, question: Question) -> Result<Survey> {
        match &self.reach {
            Reach::Here(root) => survey::of(root, &question),
            Reach::There(_) => match self.ask(&Rights::Root, caller, HostCommand::Survey(question))? {
                HostEvent::Survey(survey) => Ok(*survey),
                _ => Err(out_of_form(self)),
            },
        }
    }

    /// The call that hands a request over.
    pub fn call(&self, rights: &Rights, caller: &Caller, request: &HostRequest) -> Result<Invocation> {
        match &self.reach {
            Reach::Here(_) => {
                let call = Invocation::new(&caller.program).arg(VERB);
                Ok(rights.lift(call).input(written(request)?))
            }
            Reach::There(there) => there.call(rights, request),
        }
    }

    /// How to become root there.
    pub fn rights(&self, ask_sudo: bool, caller: &Caller, talk: &dyn Talk) -> Result<Rights> {
        let Reach::There(there) = &self.reach else { return Rights::get() };
        if self.survey.root {
            return Ok(Rights::Root);
        }
        if self.sudo {
            return Ok(Rights::Sudo);
        }
        let request = self.request(caller, HostCommand::Survey(Question::default()))?;
        let (host, user) = (self.shown(), &self.survey.user);
        let Err(sudo) = there.look(&Rights::Sudo, &request)? else { return Ok(Rights::Sudo) };
        // Asks nothing and tells little; where it is not there, sudo's own words are what counts.
        let Err(doas) = there.look(&Rights::Doas, &request)? else { return Ok(Rights::Doas) };
        if ask_sudo && sudo.helps_to_ask() {
            let rights = Rights::Password(talk.password(&format!("sudo password of {user} on {host}"))?);
            return match there.look(&rights, &request)? {
                Ok(_) => Ok(rights),
                Err(refusal) => Err(refusal.about(&format!("sudo on {host} refuses {user}"))),
            };
        }
        Err(Refusal::of_both(&sudo, &doas, &host, user))
    }
}

/// What sudo or doas said instead of starting our program.
struct Refusal {
    ended: Ended,
    said: String,
}

impl Refusal {
    /// Whether the login shell has no such program.
    fn is_missing(&self, program: &str) -> bool {
        let said = self.said.to_lowercase();
        self.ended == Ended::Code(127) || said.ends_with(&format!("{program}: command not found."))
    }

    /// Whether sudo wants a terminal, which no program has.
    fn wants_terminal(&self) -> bool {
        self.said.contains("must have a tty")
    }

    /// Whether a password could change it.
    fn helps_to_ask(&self) -> bool {
        !self.is_missing("sudo") && !self.wants_terminal()
    }

    fn about(&self, what: &str) -> Error {
        let error = Error::failed(what);
        if self.said.is_empty() { error.because(self.ended.to_string()) } else { error.because(self.said.clone()) }
    }

    /// Why neither makes us root, and what would.
    fn of_both(sudo: &Self, doas: &Self, host: &str, user: &str) -> Error {
        let program = bootstrap::RUNNING;
        let in_doas = format!("`permit nopass {user} as root cmd {program} args {VERB}` in doas.conf there");
        match (sudo.is_missing("sudo"), doas.is_missing("doas")) {
            (true, true) => Error::failed(format!("{host} has neither sudo nor doas in the PATH of {user}"))
                .help("log in as root (`address = \"root@…\"`), or install one of them there"),
            (true, false) => doas.about(&format!("doas on {host} refuses {user}")).help(format!(
                "allow it without a password: {in_doas}; or log in as root"
            )),
            (false, _) if sudo.wants_terminal() => {
                sudo.about(&format!("sudo on {host} requires a terminal (`requiretty`), which no deploy has")).help(format!(
                    "`Defaults:{user} !requiretty` in sudoers there; as NixOS says it: `security.sudo.extraConfig = \"Defaults:{user} !requiretty\";`"
                ))
            }
            (false, _) => sudo.about(&format!("sudo on {host} refuses {user}")).help(format!(
                "`--ask-sudo` asks for the password; or allow it there: `{user} ALL=(root) NOPASSWD: {program} {VERB}` in sudoers; or log in as root"
            )),
        }
    }
}

impl There {
    /// The connection that is open now.
    pub fn line(&self) -> Arc<Connection> {
        Arc::clone(&self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// After the switch it is reached there.
    pub fn moves_to(&self, address: &Address) {
        *self.later() = Some(address.clone());
    }

    /// After the switch it is reached where it was at first, if it moved.
    pub fn moves_back(&self) {
        if let Some(later) = &mut *self.later() {
            later.clone_from(&self.address);
        }
    }

    fn later(&self) -> MutexGuard<'_, Option<Address>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, address: &Address) -> Result<Connection> {
        self.ssh.connect(&self.host, address, &self.pins)
    }

    /// Connects again, after a connection was lost: where it is reached after the switch, or where it was before, as it may
    /// have gone back.
    pub fn reconnect(&self) -> Result<()> {
        let later = self.later().clone();
        let new = match &later {
            Some(later) => self.connect(later).or_else(|error| self.connect(&self.address).map_err(|_| error))?,
            None => self.connect(&self.address)?,
        };
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }

    /// Acknowledges a run: over a new connection, without sudo. Whether the machine was reached.
    pub fn acknowledge(&self, run: &str) -> Result<bool> {
        let words = [self.program.as_str(), VERB, "--acknowledge", run];
        let later = self.later().clone();
        if let Some(address) = later {
            let connection = self.connect(&address)?;
            let output = connection.call(&words).run()?;
            return Ok(!connection.lost(output.ended));
        }
        let ended = self.line().unshared(&words).leaving(Stdio::null(), ANSWER)?;
        Ok(ended != Ended::Code(255))
    }

    /// Has the program there look, with these rights. What stood in the way, where it did not answer.
    fn look(&self, rights: &Rights, request: &HostRequest) -> Result<Result<Survey, Refusal>> {
        let output = self.call(rights, request)?.run()?;
        match last(&output) {
            Some(HostEvent::Survey(survey)) => Ok(Ok(*survey)),
            _ if self.line().lost(output.ended) => Err(self.line().failure(&output)),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
                Ok(Err(Refusal { ended: output.ended, said: said.to_owned() }))
            }
        }
    }

    /// Whether it does so with these rights, for sure. What it says is not heard.
    fn lets(&self, rights: &Rights, request: &HostRequest) -> bool {
        let call = self.call(rights, request);
        call.and_then(|call| call.leaving(Stdio::null(), ANSWER)).is_ok_and(Ended::success)
    }

    fn call(&self, rights: &Rights, request: &HostRequest) -> Result<Invocation> {
        let ours = [self.program.as_str(), VERB];
        let call = self.line().call(&[rights.words(), &ours[..]].concat());
        let line = written(request)?;
        let call = match rights {
            Rights::Root | Rights::Sudo | Rights::Doas => call.input(line),
            Rights::Password(password) => call.secret_input(password, &line),
        };
        // One host that never answers must not keep all others from being looked at.
        Ok(match request.command {
            HostCommand::Survey(_) => call.at_longest(ANSWER),
            HostCommand::Switch(_) | HostCommand::Recover | HostCommand::Follow(_) => call.at_longest(SILENCE),
            HostCommand::Generations | HostCommand::Verify(_) | HostCommand::Examine => call.at_longest(WORK),
        })
    }
}

/// What is read of a password and a request, as one line.
fn written(request: &HostRequest) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)
        .map_err(|error| Error::new(Kind::Bug, "cannot write the request").because(error))?;
    line.push(b'\n');
    Ok(line)
}

/// The last event that a program on a host told.
fn last(output: &Output) -> Option<HostEvent> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().rev().find_map(HostEvent::heard)
}

/// The failure of an answer to something else.
pub fn out_of_form(target: &Target) -> Error {
    Error::failed(format!("{} gave an unexpected answer", target.shown()))
        .help("use the same version of sealift on both sides")
}
