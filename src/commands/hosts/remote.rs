//! Another machine over SSH: the connection to it, also after a switch, and the program of ours there.

use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::adapters::process::{Ended, Invocation, Output};
use crate::adapters::ssh::{Connection, Ssh};
use crate::commands::agent::launch::VERB;
use crate::commands::hosts::bootstrap;
use crate::commands::hosts::privilege::{Refusal, Rights};
use crate::domain::address::Address;
use crate::domain::deploy::host_facts::Survey;
use crate::domain::deploy::protocol::{HostCommand, HostEvent, HostRequest, LONGEST};
use crate::domain::name::HostName;
use crate::domain::policy::Host;
use crate::error::{Error, Kind, Result};

/// How long a host may take to say how it is.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take for what is no switch, such as its checks, of which each has its own time.
const WORK: Duration = Duration::from_secs(600);
/// How long it may say nothing while it switches: longer than it waits for anything itself.
const SILENCE: Duration = Duration::from_secs(LONGEST + 600);

/// Another machine, over SSH.
pub struct RemoteHost {
    ssh: Arc<Ssh>,
    host: HostName,
    address: Address,
    pins: Vec<String>,
    /// Where it is reached after the switch, if elsewhere than now.
    later: Mutex<Option<Address>>,
    /// The connection that all calls share; another one after it was lost.
    connection: Mutex<Arc<Connection>>,
    /// The program of ours there.
    pub program: String,
}

impl RemoteHost {
    /// A host over a connection that is open.
    pub fn new(ssh: &Arc<Ssh>, name: &HostName, host: &Host, connection: Connection) -> Self {
        Self {
            ssh: Arc::clone(ssh),
            host: name.clone(),
            address: host.address.clone(),
            pins: host.ssh_keys.clone(),
            later: Mutex::new(None),
            connection: Mutex::new(Arc::new(connection)),
            program: bootstrap::RUNNING.to_owned(),
        }
    }

    /// The connection that is open now.
    pub fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
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
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
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
        let ended = self.connection().unshared(&words).leaving(Stdio::null(), ANSWER)?;
        Ok(ended != Ended::Code(255))
    }

    /// Has the program there look, with these rights. What stood in the way, where it did not answer.
    pub fn look(&self, rights: &Rights, request: &HostRequest) -> Result<Result<Survey, Refusal>> {
        let output = self.call(rights, request)?.run()?;
        match last(&output) {
            Some(HostEvent::Survey(survey)) => Ok(Ok(*survey)),
            _ if self.connection().lost(output.ended) => Err(self.connection().failure(&output)),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
                Ok(Err(Refusal::new(output.ended, said)))
            }
        }
    }

    /// Whether it does so with these rights, for sure. What it says is not heard.
    pub fn lets(&self, rights: &Rights, request: &HostRequest) -> bool {
        let call = self.call(rights, request);
        call.and_then(|call| call.leaving(Stdio::null(), ANSWER)).is_ok_and(Ended::success)
    }

    pub fn call(&self, rights: &Rights, request: &HostRequest) -> Result<Invocation> {
        let ours = [self.program.as_str(), VERB];
        let call = self.connection().call(&[rights.words(), &ours[..]].concat());
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
pub fn written(request: &HostRequest) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)
        .map_err(|error| Error::new(Kind::Bug, "cannot write the request").because(error))?;
    line.push(b'\n');
    Ok(line)
}

/// The last event that a program on a host told.
pub fn last(output: &Output) -> Option<HostEvent> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().rev().find_map(HostEvent::heard)
}
