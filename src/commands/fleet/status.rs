//! `status`: an overview of the fleet. Every host is examined as the login user; nothing is changed or decrypted.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::adapters::git::Git;
use crate::commands::Session;
use crate::commands::hosts::connection::is_never_deployed;
use crate::commands::hosts::select::{Needs, Who, reach_all};
use crate::domain::deploy::diff::{Outcome, Reboot};
use crate::domain::deploy::home::State;
use crate::domain::deploy::host_facts::{Record, Survey};
use crate::domain::manifest::install_status::hex;
use crate::domain::name::{HostName, UnixName};
use crate::domain::policy::Policy;
use crate::error::{Kind, Result};

#[derive(Debug, Serialize)]
pub struct Row {
    pub host: HostName,
    /// Whether it answers, with its pinned host key.
    pub reachable: bool,
    /// Why nothing is known about it.
    pub reason: Option<String>,
    /// What is said of all hosts of which nothing is known for the same reason, and what to do about it.
    #[serde(skip)]
    pub summary: Option<(String, Option<String>)>,
    /// Whether the reason is that it was never deployed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub never_deployed: bool,
    pub running: Option<String>,
    /// The specialisation that is running, if any.
    pub specialisation: Option<String>,
    /// The current generation of its system profile.
    pub generation: Option<u64>,
    /// The NixOS version that is running.
    pub nixos_version: Option<String>,
    /// The deployed commit, if the running system is known to be built from it.
    pub commit: Option<String>,
    /// How many commits HEAD is ahead of it, if known.
    pub behind: Option<usize>,
    /// Secrets whose ciphertext on the host differs from the fleet's files, by name, with what is wrong.
    pub secrets: BTreeMap<String, String>,
    /// Failed units, if known.
    pub failed_units: Option<Vec<String>>,
    /// The homes that are not part of the system.
    pub homes: Vec<Home>,
    /// What waits for a reboot.
    pub reboot: Vec<String>,
    /// A deploy that is running or was interrupted.
    pub deploy: Option<String>,
    pub last: Option<Last>,
}

/// A home of home-manager that is not part of the system.
#[derive(Debug, Serialize)]
pub struct Home {
    pub user: UnixName,
    /// The store path of its activation package. None if the login user may not see it.
    pub package: Option<String>,
    /// The current generation of the user's profile.
    pub generation: Option<u64>,
    /// Whether it is the home that was deployed last. None if no deploy has switched it, or it cannot be seen.
    pub deployed: Option<bool>,
}

/// The last deploy of a host.
#[derive(Debug, Serialize)]
pub struct Last {
    pub run: String,
    pub who: String,
    /// When it ended, in UTC.
    pub ended: String,
    pub outcome: Outcome,
}

pub fn run(session: &Session, who: &Who) -> Result<Vec<Row>> {
    let policy = &session.fleet.policy;
    let chosen = who.choose(policy)?;
    let mut ahead = Ahead::of(session);
    let reached =
        reach_all(policy, who, &chosen, Needs { root: false, brings: None, gate: None }, None, &session.talk)?;
    reached
        .into_iter()
        .map(|(host, one)| match one {
            Ok(one) => row(session, &host, one.target.survey, &mut ahead),
            Err(error) => Ok(Row {
                reachable: error.kind() != Kind::Unreachable,
                never_deployed: is_never_deployed(&error),
                reason: Some(match error.advice() {
                    Some(help) => format!("{}; {help}", error.in_one_line()),
                    None => error.in_one_line(),
                }),
                summary: error.summary().map(|summary| (summary.to_owned(), error.advice().map(str::to_owned))),
                running: None,
                specialisation: None,
                generation: None,
                nixos_version: None,
                commit: None,
                behind: None,
                secrets: BTreeMap::new(),
                failed_units: None,
                homes: Vec::new(),
                reboot: Vec::new(),
                deploy: None,
                last: None,
                host,
            }),
        })
        .collect()
}

fn row(session: &Session, host: &HostName, survey: Survey, ahead: &mut Ahead) -> Result<Row> {
    let Survey {
        former,
        running,
        booted,
        generation,
        next,
        specialisation,
        busy,
        unfinished,
        failed,
        last,
        commit,
        homes,
        ..
    } = survey;
    // A specialisation is deployed and boots with its base system.
    let base = specialisation.as_ref().map(|one| one.of.clone()).or_else(|| former.clone());
    let deployed = last.as_ref().filter(|last| last.system == base && base.is_some());
    let commit = commit.or_else(|| deployed.and_then(|last| last.commit.clone()));
    let reboot = running.as_ref().map(|running| Reboot::between(Some(&running.facts), booted.as_ref(), &running.facts));
    let waiting = generation.filter(|_| next.is_some() && next != base).map(|number| format!("generation {number}"));
    let sealed = running.as_ref().map_or(&[][..], |running| &running.secrets);
    let secrets = sealed.iter().filter(|one| !one.template);
    let there: BTreeMap<&str, &str> = secrets.map(|one| (one.name.as_str(), one.digest.as_str())).collect();
    Ok(Row {
        reachable: true,
        reason: None,
        summary: None,
        never_deployed: false,
        nixos_version: running.as_ref().map(|running| running.facts.version.clone()),
        behind: commit.as_deref().and_then(|commit| ahead.commits_since(commit)),
        secrets: out_of_line(session, host, &there)?,
        homes: homes_of(homes, last.as_ref()),
        failed_units: failed.map(|units| units.into_iter().collect()),
        reboot: reboot.map(|reboot| reboot.waits).into_iter().flatten().chain(waiting).collect(),
        deploy: busy.map(|holder| format!("a deploy is running: {holder}")).or_else(|| {
            unfinished.then(|| format!("a deploy was interrupted; `sealift deploy {host}` finishes it or goes back"))
        }),
        last: last.map(|last| Last { run: last.run, who: last.who, ended: last.ended, outcome: last.outcome }),
        running: former,
        specialisation: specialisation.map(|one| one.name),
        generation,
        commit,
        host: host.clone(),
    })
}

/// Returns the visible homes, and those switched by the last deploy.
fn homes_of(seen: Vec<State>, last: Option<&Record>) -> Vec<Home> {
    let deployed = |user: &UnixName| last.and_then(|last| last.homes.get(user.as_str()));
    let unseen =
        last.into_iter().flat_map(|last| last.homes.keys()).filter(|user| !seen.iter().any(|one| one.user == **user));
    let unseen = unseen.map(|user| Home { user: user.clone(), package: None, generation: None, deployed: None });
    let unseen: Vec<Home> = unseen.collect();
    let seen = seen.into_iter().map(|one| Home {
        deployed: deployed(&one.user).map(|package| one.active.as_ref() == Some(package)),
        user: one.user,
        package: one.active,
        generation: one.generation,
    });
    seen.chain(unseen).collect()
}

/// Returns the secrets of a host whose ciphertext there differs from the fleet's files.
fn out_of_line(session: &Session, host: &HostName, there: &BTreeMap<&str, &str>) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    let policy = &session.fleet.policy;
    let own = policy.secrets.iter().filter(|(_, secret)| secret.hosts.contains(host));
    for (name, secret) in own.clone() {
        let file = Policy::wanted_of(name, secret).into_iter().find(|wanted| wanted.hosts.contains(&host));
        let Some(bytes) = file.map(|wanted| session.fleet.sealed(&wanted.file)).transpose()?.flatten() else {
            continue;
        };
        match there.get(name.as_str()) {
            None => drop(out.insert(name.to_string(), "not deployed".to_owned())),
            Some(digest) if **digest == hex(&Sha256::digest(&bytes)) => {}
            Some(_) => drop(out.insert(name.to_string(), "another ciphertext".to_owned())),
        }
    }
    let gone = there.keys().filter(|name| !own.clone().any(|(own, _)| own.as_str() == **name));
    out.extend(gone.map(|name| ((*name).to_owned(), "no longer for this host".to_owned())));
    Ok(out)
}

/// Counts how many commits HEAD is ahead. Asks git once for each commit, however many hosts have it.
struct Ahead {
    git: Option<(Git, String)>,
    known: BTreeMap<String, Option<usize>>,
}

impl Ahead {
    fn of(session: &Session) -> Self {
        let git = session.fleet.git().ok();
        let git = git.and_then(|git| git.head().map(|head| (git, head)));
        Self { git, known: BTreeMap::new() }
    }

    /// Returns the number of commits from the deployed one to HEAD, if known.
    fn commits_since(&mut self, deployed: &str) -> Option<usize> {
        let commit = deployed.trim_end_matches("-dirty");
        let (git, head) = self.git.as_ref().filter(|_| is_commit(commit))?;
        let count = || {
            let range = format!("{commit}..{head}");
            let text = git.call().args(["rev-list", "--count", &range, "--"]).read().ok()?;
            String::from_utf8_lossy(&text).trim().parse().ok()
        };
        *self.known.entry(commit.to_owned()).or_insert_with(count)
    }
}

/// Whether a string is a full commit id. The output of a host is not trusted.
fn is_commit(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
