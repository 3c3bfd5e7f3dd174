//! One machine and how it is reached: this one, or another over SSH. The same is asked of both, by the same orders.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::caller::{Caller, Rights, VERB};
use super::identify::{is_here, no_such_host};
use super::{contact, survey};
use crate::adapters::process::{Ended, Invocation, Output};
use crate::adapters::rooted::Root;
use crate::adapters::ssh::{Connection, Ssh};
use crate::adapters::ssh_options;
use crate::commands::Talk;
use crate::error::{Error, Kind, Result};
use crate::fleet::address::Address;
use crate::fleet::name::HostName;
use crate::fleet::order::{Order, Told, Work};
use crate::fleet::policy::{Host, Policy};
use crate::fleet::survey::{Question, Survey};

/// How long a host may take to say how it is.
const ANSWER: Duration = Duration::from_secs(120);

/// A machine that was looked at.
pub struct Target {
    /// Its name in the policy; none where it has none.
    pub host: Option<HostName>,
    /// How it is reached.
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
    /// Over SSH.
    There(Box<There>),
}

/// Another machine.
pub struct There {
    ssh: Arc<Ssh>,
    host: HostName,
    address: Address,
    pins: Vec<String>,
    /// Where it is reached after the switch, if elsewhere.
    later: OnceLock<Address>,
    /// The connection that all calls share; another one after it was lost.
    line: Mutex<Arc<Connection>>,
    /// The program of ours there.
    pub program: String,
}

impl Target {
    /// This machine, or a root directory on it.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn here(root: Root, host: Option<HostName>) -> Result<Self> {
        let survey = survey::of(&root, &Question::default())?;
        Ok(Self { host, reach: Reach::Here(root), survey, sudo: false })
    }

    /// The words that name it in a command, each with a space before it: a hint is for this machine, and no other.
    pub fn words(&self) -> String {
        let root = match &self.reach {
            Reach::Here(root) if !root.is_machine() => Some(root.path()),
            Reach::Here(_) | Reach::There(_) => None,
        };
        words(self.host.as_ref(), root)
    }

    /// Another machine. `bring`: whether a program may be brought where there is none of ours. `root`: whether root will be
    /// needed; then sudo is tried beside the first look.
    ///
    /// # Errors
    /// `Unreachable` when it is not there, or not who it should be.
    pub fn there(
        ssh: &Arc<Ssh>,
        name: &HostName,
        host: &Host,
        caller: &Caller,
        bring: Option<&contact::Brought>,
        root: bool,
    ) -> Result<Self> {
        let connection = ssh.connect(name, &host.address, &host.ssh_keys)?;
        let mut there = There {
            ssh: Arc::clone(ssh),
            host: name.clone(),
            address: host.address.clone(),
            pins: host.ssh_keys.clone(),
            later: OnceLock::new(),
            line: Mutex::new(Arc::new(connection)),
            program: contact::RUNNING.to_owned(),
        };
        let ask = |there: &There, rights: &Rights| -> Result<Option<Survey>> {
            let order = caller.order(Path::new("/"), Some(name.clone()), Work::Survey(Question::default()))?;
            let output = there.call(rights, &order)?.run()?;
            match last(&output) {
                Some(Told::Survey(survey)) => Ok(Some(*survey)),
                _ if there.line().lost(output.ended) => Err(there.line().failure(&output)),
                _ => Ok(None),
            }
        };
        // It is not there before the first deploy, and may speak an older protocol.
        let (first, sudo) = std::thread::scope(|scope| {
            // What it says of itself as root is not asked for: whom its nix trusts is said as who logs in.
            let sudo = root.then(|| scope.spawn(|| matches!(ask(&there, &Rights::Sudo), Ok(Some(_)))));
            (ask(&there, &Rights::Root), sudo.is_some_and(|sudo| sudo.join().unwrap_or(false)))
        });
        let survey = match (first?, bring) {
            (Some(survey), _) => survey,
            (None, None) => {
                return Err(Error::failed(format!("{name} is up, and nothing of sealift is there yet"))
                    .hint(format!("the first `sealift deploy {name}` brings it")));
            }
            (None, Some(brought)) => {
                there.program = contact::bring(brought, &there.line(), caller)?;
                ask(&there, &Rights::Root)?.ok_or_else(|| {
                    Error::failed(format!("the program that was brought to {name} does not run there"))
                        .hint(contact::MEND)
                })?
            }
        };
        Ok(Self { host: Some(name.clone()), reach: Reach::There(Box::new(there)), survey, sudo })
    }

    /// The machine that a name of the policy stands for: this one where it is this one.
    ///
    /// # Errors
    /// As `here` and `there`.
    pub fn of(
        policy: &Policy,
        name: &HostName,
        ssh: &Arc<Ssh>,
        caller: &Caller,
        bring: Option<&contact::Brought>,
        root: bool,
    ) -> Result<Self> {
        let Some(host) = policy.hosts.get(name) else { return Err(no_such_host(policy, name)) };
        if is_here(host) {
            return Self::here(Root::open(Path::new("/"))?, Some(name.clone()));
        }
        Self::there(ssh, name, host, caller, bring, root)
    }

    /// As a person names it.
    pub fn shown(&self) -> String {
        self.host.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string)
    }

    /// Whether it is another machine.
    pub fn is_remote(&self) -> bool {
        matches!(self.reach, Reach::There(_))
    }

    /// An order of this caller for it.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn order(&self, caller: &Caller, work: Work) -> Result<Order> {
        let root = match &self.reach {
            Reach::Here(root) => root.path(),
            Reach::There(_) => Path::new("/"),
        };
        caller.order(root, self.host.clone(), work)
    }

    /// Asks something that needs no root, or, with rights, something that does.
    ///
    /// # Errors
    /// What the host says, or that it does not answer.
    pub fn ask(&self, rights: &Rights, caller: &Caller, work: Work) -> Result<Told> {
        let order = self.order(caller, work)?;
        let call = self.call(rights, caller, &order)?;
        let output = call.run()?;
        match (last(&output), &self.reach) {
            (Some(Told::End(verdict)), _) => match verdict.failure {
                Some(failure) => Err(failure.into_error()),
                None => Ok(Told::End(verdict)),
            },
            (Some(told), _) => Ok(told),
            (None, Reach::There(there)) if there.line().lost(output.ended) => Err(there.line().failure(&output)),
            (None, _) => Err(call.failure(&output).about(self.shown())),
        }
    }

    /// Looks again, with a question.
    ///
    /// # Errors
    /// As `ask`.
    pub fn survey(&self, caller: &Caller, question: Question) -> Result<Survey> {
        match &self.reach {
            Reach::Here(root) => survey::of(root, &question),
            Reach::There(_) => match self.ask(&Rights::Root, caller, Work::Survey(question))? {
                Told::Survey(survey) => Ok(*survey),
                _ => Err(out_of_form(self)),
            },
        }
    }

    /// The call that hands an order over.
    ///
    /// # Errors
    /// When the order cannot be written.
    pub fn call(&self, rights: &Rights, caller: &Caller, order: &Order) -> Result<Invocation> {
        match &self.reach {
            Reach::Here(_) => {
                let call = Invocation::new(&caller.program).arg(VERB);
                let call = if matches!(rights, Rights::Root) { call } else { call.under("sudo", &["-n", "--"]) };
                Ok(call.input(written(order)?))
            }
            Reach::There(there) => there.call(rights, order),
        }
    }

    /// How to become root there.
    ///
    /// # Errors
    /// When there is no way, or a password is wanted and nobody may be asked.
    pub fn rights(&self, ask_sudo: bool, caller: &Caller, talk: &dyn Talk) -> Result<Rights> {
        let Reach::There(_) = &self.reach else { return Rights::get() };
        if self.survey.root {
            return Ok(Rights::Root);
        }
        if self.sudo {
            return Ok(Rights::Sudo);
        }
        let question = || Work::Survey(Question::default());
        let (host, user) = (self.shown(), &self.survey.user);
        let refused = match self.ask(&Rights::Sudo, caller, question()) {
            Ok(_) => return Ok(Rights::Sudo),
            Err(error) if error.kind() == Kind::Unreachable => return Err(error),
            Err(error) => error,
        };
        if ask_sudo {
            let rights = Rights::Password(talk.password(&format!("sudo password of {user} on {host}"))?);
            return match self.ask(&rights, caller, question()) {
                Ok(_) => Ok(rights),
                Err(error) => Err(Error::failed(format!("sudo on {host} refuses {user}")).because(error.in_one_line())),
            };
        }
        Err(Error::failed(format!("sudo on {host} refuses {user}")).because(refused.in_one_line()).hint(format!(
            "`--ask-sudo` asks for the password; or allow it there: `{user} ALL=(root) NOPASSWD: {} {VERB}` in sudoers; or log in as root",
            contact::RUNNING
        )))
    }
}

impl There {
    /// The connection that is open now.
    pub fn line(&self) -> Arc<Connection> {
        Arc::clone(&self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// After the switch it is reached there.
    pub fn moves_to(&self, address: &Address) {
        // A machine is switched once in a run.
        let _said_before = self.later.set(address.clone());
    }

    fn connect(&self) -> Result<Connection> {
        self.ssh.connect(&self.host, self.later.get().unwrap_or(&self.address), &self.pins)
    }

    /// Connects anew, after a connection was lost.
    ///
    /// # Errors
    /// As `Ssh::connect`.
    pub fn reconnect(&self) -> Result<()> {
        let new = Arc::new(self.connect()?);
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Acknowledges a run: over a new connection, without sudo. Whether the machine was reached.
    ///
    /// # Errors
    /// When ssh cannot be started.
    pub fn acknowledge(&self, run: &str) -> Result<bool> {
        let words = [self.program.as_str(), VERB, "--acknowledge", run];
        if self.later.get().is_some() {
            let connection = self.connect()?;
            let output = connection.call(&words).run()?;
            return Ok(!connection.lost(output.ended));
        }
        let line = self.line();
        let output = line.anew(&words).run()?;
        Ok(output.ended != Ended::Code(255))
    }

    fn call(&self, rights: &Rights, order: &Order) -> Result<Invocation> {
        let ours = [self.program.as_str(), VERB];
        let call = |before: &[&str]| self.line().call(&[before, &ours[..]].concat());
        let line = written(order)?;
        let call = match rights {
            Rights::Root => call(&[]).input(line),
            Rights::Sudo => call(&["sudo", "-n", "--"]).input(line),
            // `-k`: what sudo remembers must not leave the password to the program behind it.
            Rights::Password(password) => call(&["sudo", "-k", "-S", "--prompt=", "--"]).secret_input(password, &line),
        };
        // One host that never answers must not keep all others from being looked at.
        Ok(if matches!(order.work, Work::Survey(_)) { call.at_longest(ANSWER) } else { call })
    }
}

/// What is read of a password and an order, as one line.
fn written(order: &Order) -> Result<Vec<u8>> {
    let mut line =
        serde_json::to_vec(order).map_err(|error| Error::new(Kind::Bug, "cannot write the order").because(error))?;
    line.push(b'\n');
    Ok(line)
}

/// The last event that a program on a host told.
fn last(output: &Output) -> Option<Told> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
}

/// The failure of an answer to something else.
pub fn out_of_form(target: &Target) -> Error {
    Error::failed(format!("{} answers out of form", target.shown()))
        .hint("use the same version of sealift on both sides")
}

/// As `Target::words`.
pub fn words(host: Option<&HostName>, root: Option<&Path>) -> String {
    let host = host.map(|host| format!(" {host}"));
    let root = root.map(|root| format!(" --root {}", ssh_options::quoted(&root.display().to_string())));
    host.into_iter().chain(root).collect()
}
