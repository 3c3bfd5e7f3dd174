//! `deploy --attach`: follows an active run on its hosts, or shows its result.

use std::collections::BTreeSet;

use crate::adapters::process::parallel;
use crate::commands::Session;
use crate::commands::deploy::run_store::Store;
use crate::commands::hosts::client::follow;
use crate::commands::hosts::select::{Chosen, Needs, Who, reach_all};
use crate::commands::hosts::talk::OfHost;
use crate::domain::deploy::diff::Outcome;
use crate::domain::deploy::protocol::{DeployResult, Failure, is_run};
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// The result of a run on one host.
pub struct Attached {
    pub host: HostName,
    /// The result, or why it is unknown.
    pub result: Result<DeployResult>,
}

pub fn run(session: &Session, who: &Who, run: &str) -> Result<Vec<Attached>> {
    if !is_run(run) {
        return Err(Error::usage(format!("`{run}` is not the name of a run"))
            .help("`sealift status` shows the last run of each host"));
    }
    let policy = &session.fleet.policy;
    let chosen = if who.words.is_empty() && !who.all {
        let known = Store::of(&session.fleet.git()?, &session.fleet.root)?.hosts_of(run);
        let hosts: BTreeSet<HostName> = known.into_iter().collect();
        if hosts.is_empty() {
            // The run may be another deployer's, on this machine.
            who.choose(policy).map_err(|_| {
                Error::failed(format!("no run {run} was begun here")).help(format!(
                    "name its host: `sealift deploy HOST --attach {run}`; `sealift status` shows the last run of each"
                ))
            })?
        } else {
            Chosen { named: hosts.clone(), hosts }
        }
    } else {
        who.choose(policy)?
    };
    let count = chosen.hosts.len();
    let needs = Needs { root: true, brings: None, gate: None };
    let (mut attached, mut reached) = (Vec::new(), Vec::new());
    for (host, ready) in reach_all(policy, who, &chosen, needs, None, &session.talk)? {
        match ready {
            Ok(ready) => reached.push(ready),
            Err(error) => attached.push(Attached { host, result: Err(error) }),
        }
    }
    attached.extend(parallel::map_on(who.places(policy, false), &reached, |ready| {
        let talk = OfHost::among(&session.talk, &ready.host, count);
        let result = parallel::alone(|| follow(&ready.target, run, &ready.rights, &who.caller, &talk));
        Attached { host: ready.host.clone(), result }
    }));
    Ok(attached)
}

impl Attached {
    /// Returns the host, how its run ended, and the error if there is one.
    pub fn into_parts(self) -> (HostName, Option<Outcome>, Option<Error>) {
        match self.result {
            Ok(result) => (self.host, Some(result.outcome), result.failure.map(Failure::into_error)),
            Err(error) => (self.host, None, Some(error)),
        }
    }
}
