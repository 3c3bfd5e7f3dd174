//! One machine: this one, or another over SSH. The same is asked of both, by the same requests.

use std::path::Path;
use std::sync::Arc;

use crate::adapters::fs::root::Root;
use crate::adapters::process::Invocation;
use crate::adapters::ssh::Ssh;
use crate::commands::agent::caller::Caller;
use crate::commands::agent::launch::VERB;
use crate::commands::agent::survey;
use crate::commands::hosts::bootstrap;
use crate::commands::hosts::identify::is_here;
use crate::commands::hosts::privilege::{Refusal, Rights};
use crate::commands::hosts::remote::{RemoteHost, last, written};
use crate::commands::talk::Talk;
use crate::domain::address;
use crate::domain::deploy::host_facts::{Question, Survey};
use crate::domain::deploy::protocol::{HostCommand, HostEvent, HostRequest};
use crate::domain::doctor::machine::Machine;
use crate::domain::name::HostName;
use crate::domain::policy::{Host, Policy};
use crate::error::{Error, Result};

/// What is said of hosts that no deploy has reached.
const NOTHING_THERE: &str = "nothing of sealift is there yet; the first deploy brings it";

/// Whether a failure says that no deploy has reached the host.
pub fn is_never_deployed(error: &Error) -> bool {
    error.summary() == Some(NOTHING_THERE)
}

/// A machine that was looked at.
pub struct Target {
    /// Its name in the policy; none where it has none.
    pub host: Option<HostName>,
    pub transport: Transport,
    /// How it was when it was looked at.
    pub survey: Survey,
    /// Whether sudo there is known to ask nothing.
    sudo: bool,
}

/// How a machine is reached.
pub enum Transport {
    /// It is this one, or a root directory on it.
    Local(Root),
    Remote(Box<RemoteHost>),
}

impl Target {
    /// This machine, or a root directory on it.
    pub fn here(root: Root, host: Option<HostName>) -> Result<Self> {
        let survey = survey::of(&root, &Question::default())?;
        Ok(Self { host, transport: Transport::Local(root), survey, sudo: false })
    }

    /// The words that name it in a command, each with a space before it: advice is for this machine, and no other.
    pub fn words(&self) -> String {
        let root = match &self.transport {
            Transport::Local(root) => root.path(),
            Transport::Remote(_) => Path::new("/"),
        };
        address::words(self.host.as_ref(), root)
    }

    /// Another machine. `bring`: whether a program may be brought where there is none of ours. `root`: whether root will be
    /// needed; then sudo is tried beside the first look.
    ///
    /// Fails with `Unreachable` when it is not there, or not who it should be.
    pub fn remote(
        ssh: &Arc<Ssh>,
        name: &HostName,
        host: &Host,
        caller: &Caller,
        bring: Option<&bootstrap::Brought>,
        root: bool,
    ) -> Result<Self> {
        let connection = ssh.connect(name, &host.address, &host.ssh_keys)?;
        let mut remote = RemoteHost::new(ssh, name, host, connection);
        let request = caller.request(Path::new("/"), Some(name.clone()), HostCommand::Survey(Question::default()))?;
        let ask = |remote: &RemoteHost| remote.look(&Rights::Root, &request).map(Result::ok);
        // It is not there before the first deploy, and may speak an older protocol.
        let (first, sudo) = std::thread::scope(|scope| {
            // What it says of itself as root is not asked for: which users its nix trusts is said as who logs in.
            let sudo = root.then(|| scope.spawn(|| remote.lets(&Rights::Sudo, &request)));
            (ask(&remote), sudo.is_some_and(|sudo| sudo.join().unwrap_or(false)))
        });
        let survey = match (first?, bring) {
            (Some(survey), _) => survey,
            (None, None) => {
                return Err(Error::failed(format!("{name} is up, and nothing of sealift is there yet"))
                    .with_summary(NOTHING_THERE)
                    .help(format!("the first `sealift deploy {name}` brings it")));
            }
            (None, Some(brought)) => {
                remote.program = bootstrap::bring(brought, name, &remote.connection(), caller)?;
                ask(&remote)?.ok_or_else(|| {
                    Error::failed(format!("the program that was brought to {name} does not run there"))
                        .help(bootstrap::HELP)
                })?
            }
        };
        Ok(Self { host: Some(name.clone()), transport: Transport::Remote(Box::new(remote)), survey, sudo })
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
        Self::remote(ssh, name, host, caller, bring, root)
    }

    /// As a person names it.
    pub fn shown(&self) -> String {
        self.host.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string)
    }

    /// The same, but a system that does not run by the folder that it is in.
    pub fn place(&self) -> String {
        match &self.transport {
            Transport::Local(root) if !root.is_machine() => root.path().display().to_string(),
            _ => self.shown(),
        }
    }

    /// Whether it is another machine.
    pub fn is_remote(&self) -> bool {
        matches!(self.transport, Transport::Remote(_))
    }

    /// A request of this caller for it.
    pub fn request(&self, caller: &Caller, command: HostCommand) -> Result<HostRequest> {
        let root = match &self.transport {
            Transport::Local(root) => root.path(),
            Transport::Remote(_) => Path::new("/"),
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
        match (last(&output), &self.transport) {
            (Some(HostEvent::End(result)), _) => match result.failure {
                Some(failure) => Err(failure.into_error().about(self.shown())),
                None => Ok(HostEvent::End(result)),
            },
            (Some(told), _) => Ok(told),
            (None, Transport::Remote(remote)) => Err(remote.connection().failure(&output)),
            (None, Transport::Local(_)) => Err(call.failure(&output).about(self.shown())),
        }
    }

    /// Looks again, with a question.
    pub fn survey(&self, caller: &Caller, question: Question) -> Result<Survey> {
        match &self.transport {
            Transport::Local(root) => survey::of(root, &question),
            Transport::Remote(_) => match self.ask(&Rights::Root, caller, HostCommand::Survey(question))? {
                HostEvent::Survey(survey) => Ok(*survey),
                _ => Err(out_of_form(self)),
            },
        }
    }

    /// The call that hands a request over.
    pub fn call(&self, rights: &Rights, caller: &Caller, request: &HostRequest) -> Result<Invocation> {
        match &self.transport {
            Transport::Local(_) => {
                let call = Invocation::new(&caller.program).arg(VERB);
                Ok(rights.lift(call).input(written(request)?))
            }
            Transport::Remote(remote) => remote.call(rights, request),
        }
    }

    /// How to become root there.
    pub fn rights(&self, ask_sudo: bool, caller: &Caller, talk: &dyn Talk) -> Result<Rights> {
        let Transport::Remote(remote) = &self.transport else { return Rights::get() };
        if self.survey.root {
            return Ok(Rights::Root);
        }
        if self.sudo {
            return Ok(Rights::Sudo);
        }
        let request = self.request(caller, HostCommand::Survey(Question::default()))?;
        let (host, user) = (self.shown(), &self.survey.user);
        let Err(sudo) = remote.look(&Rights::Sudo, &request)? else { return Ok(Rights::Sudo) };
        // Asks nothing and tells little; where it is not there, sudo's own words are what counts.
        let Err(doas) = remote.look(&Rights::Doas, &request)? else { return Ok(Rights::Doas) };
        if ask_sudo && sudo.helps_to_ask() {
            let rights = Rights::Password(talk.password(&format!("sudo password of {user} on {host}"))?);
            return match remote.look(&rights, &request)? {
                Ok(_) => Ok(rights),
                Err(refusal) => Err(refusal.about(&format!("sudo on {host} refuses {user}"))),
            };
        }
        Err(Refusal::of_both(&sudo, &doas, &host, user))
    }
}

/// The failure of an answer to something else.
pub fn out_of_form(target: &Target) -> Error {
    Error::failed(format!("{} gave an unexpected answer", target.shown()))
        .help("use the same version of sealift on both sides")
}
