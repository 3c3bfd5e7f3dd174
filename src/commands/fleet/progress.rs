//! `status --progress`: how far each machine is on its way into the fleet. Every step is derived from the present
//! state; nothing is marked by hand.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::commands::Session;
use crate::commands::fleet::{superseded, verify};
use crate::commands::hosts::select::{Needs, Who, reach_all};
use crate::domain::deploy::protocol::Verified;
use crate::domain::migrate::progress::{Deployed, Facts, Mark, judge};
use crate::domain::migrate::scaffold::hardware_path;
use crate::domain::name::{Configuration, HostName};
use crate::domain::policy::Policy;
use crate::domain::secret::inventory::{Found, Inventory};
use crate::domain::tracked::UNTRACKED;
use crate::error::Result;

/// The progress of one machine.
#[derive(Debug, Serialize)]
pub struct Row {
    pub host: HostName,
    /// Its steps, in order.
    pub steps: Vec<Mark>,
}

pub fn run(session: &Session, who: &Who) -> Result<Vec<Row>> {
    let policy = &session.fleet.policy;
    let chosen = who.choose(policy)?;
    let inventory = session.fleet.inventory()?;
    let previous = superseded::look(session)?;
    let superseded: Vec<String> = previous.superseded.iter().map(|one| one.path.clone()).collect();
    let mut verified: BTreeMap<HostName, Result<Verified>> = verify::run(session, who, verify::Undeployed::Skip)?
        .into_iter()
        .map(|found| (found.host, found.verified))
        .collect();
    let reached =
        reach_all(policy, who, &chosen, Needs { root: false, brings: None, gate: None }, None, &session.talk)?;
    let rows = reached.into_iter().map(|(host, one)| {
        let mut facts = Facts {
            pinned: policy.hosts.get(&host).is_some_and(|host| !host.ssh_keys.is_empty()),
            unsealed: unsealed(policy, &inventory, &host),
            missing: missing(&previous.tracked, &policy.configuration(&host)),
            superseded: superseded.clone(),
            ..Facts::default()
        };
        match &one {
            Err(error) => facts.deployed = Some(Err(error.in_one_line())),
            Ok(one) => {
                let survey = &one.target.survey;
                let last = survey.last.as_ref().map(|last| (last.system.clone(), last.outcome));
                facts.deployed = Some(Ok(Deployed { running: survey.former.clone(), last }));
                facts.etc_nixos = one.target.examine(&who.caller).ok().map(|machine| machine.etc_nixos);
            }
        }
        facts.verified = verified
            .remove(&host)
            .map(|verified| verified.map(|found| wrong(&found)).map_err(|error| error.in_one_line()));
        Row { steps: judge(&facts, host.as_str()), host }
    });
    Ok(rows.collect())
}

/// Lists failed checks and wrong secrets.
fn wrong(found: &Verified) -> Vec<String> {
    let each = |what: &'static str, all: &BTreeMap<String, Option<String>>| {
        let wrong = all.iter().filter_map(|(name, wrong)| Some(format!("{what} {name}: {}", wrong.as_ref()?)));
        wrong.collect::<Vec<_>>()
    };
    [each("check", &found.checks), each("secret", &found.secrets)].concat()
}

/// Returns the files of a host that are not sealed to any of its keys.
fn unsealed(policy: &Policy, inventory: &Inventory, host: &HostName) -> Vec<String> {
    let Some(keys) = policy.hosts.get(host).map(|host| &host.keys) else { return Vec::new() };
    let wanted = policy.wanted();
    let own = wanted.values().filter(|wanted| wanted.hosts.contains(&host));
    let sealed = |file| {
        let seal = inventory.files.get(file).and_then(Found::seal);
        seal.is_some_and(|seal| keys.iter().any(|key| seal.current.contains(&key.fingerprint())))
    };
    own.filter(|wanted| !sealed(&wanted.file)).map(|wanted| wanted.file.path()).collect()
}

/// Returns the configuration files of a machine that Nix does not see.
fn missing(tracked: &BTreeSet<String>, host: &Configuration) -> Vec<String> {
    let wanted = ["flake.nix".to_owned(), format!("hosts/{host}/default.nix"), hardware_path(host)];
    wanted.into_iter().filter(|path| !tracked.contains(path)).map(|path| format!("{path}: {UNTRACKED}")).collect()
}
