//! The plan of a deploy: what will differ on a host. The same value is shown, written as JSON, and carried out. And what
//! is kept of a deploy of many hosts, so that it can be reviewed first, and taken up again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::deploy::diff::{Action, Commands, Outcome, Reboot, UnitChanges};
use crate::domain::deploy::home::{self, Home, unit_of};
use crate::domain::deploy::host_facts::{Seen, Survey};
use crate::domain::deploy::packages::{Difference, PackageChange, Sizes};
use crate::domain::deploy::protocol::{Profile, Switch};
use crate::domain::deploy::secret_changes::{Change, SecretChange, secret_changes, secret_units};
use crate::domain::name::{HostName, UnixName};
use crate::domain::policy::{Differ, Engine, Policy};

/// The version of the form of a campaign.
pub const VERSION: u32 = 1;

/// Deploys of several hosts that belong together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    pub version: u32,
    /// Names it, also on the hosts.
    pub run: String,
    /// When it was planned, in UTC.
    pub planned: String,
    /// The commit that the systems were built from.
    pub commit: Option<String>,
    pub action: Action,
    /// The host that goes first.
    pub canary: Option<HostName>,
    pub hosts: BTreeMap<HostName, Item>,
}

/// One host of a campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub plan: Plan,
    /// Store path of a manifest with its sealed files, for a system that carries none.
    pub bundle: Option<String>,
    /// Whether the system was built on the host itself, and is in its store alone.
    #[serde(default)]
    pub there: bool,
    #[serde(default)]
    pub state: State,
}

/// How far a host of a campaign is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    #[default]
    Pending,
    /// The host has its order.
    Begun,
    Ended(Outcome),
    /// Another deploy to the host came after it.
    Superseded,
}

impl State {
    /// Whether there is nothing more to do.
    pub fn is_success(self) -> bool {
        matches!(self, State::Ended(Outcome::Done | Outcome::PendingReboot | Outcome::Nothing) | State::Superseded)
    }
}

impl Campaign {
    /// The hosts that are not done.
    pub fn left(&self) -> BTreeSet<HostName> {
        self.hosts.iter().filter(|(_, item)| !item.state.is_success()).map(|(host, _)| host.clone()).collect()
    }
}

/// What a deploy will do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub host: Option<HostName>,
    pub action: Action,
    pub system: String,
    /// What becomes of the specialisation that runs; none where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<Kept>,
    /// The system that runs; none where none does.
    pub former: Option<String>,
    /// The versions of NixOS, before and after.
    pub versions: (Option<String>, String),
    /// Packages that differ, a line each.
    pub packages: Vec<String>,
    /// The same by name, versions and size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PackageChange>,
    /// How large the closures are, before and after; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure: Option<Sizes>,
    /// The program whose lines `packages` are; none: sealift's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_by: Option<Differ>,
    /// Why they were not compared.
    pub not_compared: Option<String>,
    /// Secrets that do not stay as they are.
    pub secrets: Vec<SecretChange>,
    /// Units that are restarted or reloaded because of them.
    pub secret_units: BTreeSet<String>,
    /// Units of the system that differ.
    pub units: UnitChanges,
    /// What a reboot is needed for.
    pub reboot: Reboot,
    /// Whether the secrets last only until the next reboot: the system has no unit that delivers them.
    pub until_reboot: bool,
    /// The commands of checks that are taken from recipients.toml and run as root there: the system carries none.
    #[serde(default, skip_serializing_if = "Commands::is_empty")]
    pub commands: Commands,
    /// The homes that are no part of the system, and what becomes of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<home::HomeChange>,
    /// Whether only they are switched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_homes: bool,
}

/// What becomes of a specialisation that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub name: String,
    /// The one of this name in the system that comes, which is activated; none: the system itself is.
    pub system: Option<String>,
    pub left: Option<String>,
}

impl Kept {
    /// Decides it for the system that comes. `base`: it was asked for the system itself.
    pub fn of(survey: &Survey, coming: &Seen, action: Action, base: bool) -> Option<Self> {
        let name = survey.specialisation.as_ref()?.name.clone();
        let system = coming.specialisations.get(&name).cloned();
        let left = match (&system, action) {
            (_, Action::Boot | Action::Build) => Some("the system itself boots next"),
            _ if base => Some("the system itself was asked for"),
            (None, _) => Some("the new system has none of this name"),
            (Some(_), _) => None,
        };
        Some(Self { name, system: system.filter(|_| left.is_none()), left: left.map(str::to_owned) })
    }
}

impl Plan {
    /// Compares what comes with what is. `packages`: the differences of the closures, or why there are none. `policy` tells of
    /// hosts that were removed.
    pub fn of(
        policy: Option<&Policy>,
        host: Option<&HostName>,
        action: Action,
        survey: &Survey,
        coming: &Seen,
        packages: Result<Difference, String>,
    ) -> Self {
        let running = survey.running.as_ref();
        let facts = running.map(|seen| &seen.facts);
        let removed = policy.into_iter().flat_map(|policy| &policy.retired);
        let removed = removed.flat_map(|(name, gone)| {
            gone.keys.iter().map(move |key| (key.fingerprint().to_string(), name.to_string()))
        });
        let secrets = secret_changes(running.map_or(&[], |seen| &seen.secrets), &coming.secrets, &removed.collect());
        let (found, not_compared) = match packages {
            Ok(found) => (found, None),
            Err(why) => (Difference::default(), Some(why)),
        };
        let (compared_by, packages) = match found.told {
            Some((program, lines)) => (Some(program), lines),
            None => (None, found.changes.iter().map(PackageChange::line).collect()),
        };
        Self {
            host: host.cloned(),
            action,
            system: coming.system.clone(),
            specialisation: None,
            former: survey.former.clone(),
            versions: (facts.map(|facts| facts.version.clone()), coming.facts.version.clone()),
            packages,
            changes: found.changes,
            closure: found.closure,
            compared_by,
            not_compared,
            secret_units: secret_units(&secrets, &coming.secrets),
            secrets,
            units: UnitChanges::between(facts, &coming.facts),
            reboot: Reboot::between(facts, survey.booted.as_ref(), &coming.facts),
            until_reboot: !coming.secrets.is_empty() && !coming.facts.has_unit,
            commands: Commands::new(),
            homes: Vec::new(),
            only_homes: false,
        }
    }

    /// The same with the homes that go with it: users and their activation packages, as the flake has them.
    #[must_use]
    pub fn with_homes(mut self, survey: &Survey, coming: &Seen, homes: &[(UnixName, String)]) -> Self {
        let live = self.live() && matches!(self.action, Action::Test | Action::Switch);
        let change = |(user, package): &(UnixName, String)| {
            let there = survey.homes.iter().find(|home| home.user == *user);
            let former = there.and_then(|home| home.active.clone());
            let current = there.and_then(|home| {
                home.generations.iter().find(|one| Some(one.generation) == home.generation)?.package.clone()
            });
            let left = if coming.facts.units.contains_key(&unit_of(user)) {
                Some("it comes with the system".to_owned())
            } else if !live {
                Some("the system is not activated now; `sealift deploy --home` once it runs".to_owned())
            } else if former.as_ref() == Some(package) && current.as_ref() == Some(package) {
                Some(format!("{package} is active already"))
            } else {
                None
            };
            home::HomeChange { user: user.clone(), former, package: package.clone(), left }
        };
        self.homes = homes.iter().map(change).collect();
        self
    }

    /// The homes that are switched.
    pub fn homes_to_come(&self) -> impl Iterator<Item = &home::HomeChange> {
        self.homes.iter().filter(|home| home.left.is_none())
    }

    /// The same of a system whose specialisation was compared, or which leaves the one that runs.
    #[must_use]
    pub fn of_base(self, system: &str, specialisation: Option<Kept>) -> Self {
        Self { system: system.to_owned(), specialisation, ..self }
    }

    /// The system that is activated.
    pub fn activates(&self) -> &String {
        self.specialisation.as_ref().and_then(|kept| kept.system.as_ref()).unwrap_or(&self.system)
    }

    /// The name of the specialisation that is activated, if one is.
    pub fn activates_special(&self) -> Option<String> {
        self.specialisation.as_ref().filter(|kept| kept.system.is_some()).map(|kept| kept.name.clone())
    }

    /// What a host is told to do for it, with what only who tells it knows left out. `acknowledge`: for how many seconds it
    /// would wait for a new connection, where the switch could end the old one.
    pub fn switch(&self, profile: Profile, settle: u64, acknowledge: Option<u64>) -> Switch {
        let switches = self.live() && matches!(self.action, Action::Test | Action::Switch);
        let home =
            |to: &home::HomeChange| Home { user: to.user.clone(), package: to.package.clone(), generation: None };
        Switch {
            action: self.action,
            system: self.system.clone(),
            profile,
            expected: self.former.clone(),
            live: self.live(),
            bundle: None,
            checks: Vec::new(),
            settle,
            engine: Engine::Native,
            commit: None,
            acknowledge: acknowledge.filter(|_| switches && !self.only_homes),
            specialisation: self.activates_special(),
            link: None,
            keep_values: false,
            homes: self.homes_to_come().map(home).collect(),
            only_homes: self.only_homes,
        }
    }

    /// Whether the system that runs, or one of its secrets, becomes another.
    pub fn changes_the_system(&self) -> bool {
        !self.only_homes && (self.former.as_ref() != Some(self.activates()) || !self.secrets.is_empty())
    }

    /// Whether the system can be activated as it is.
    pub fn live(&self) -> bool {
        self.reboot.blocks.is_empty()
    }

    /// Whether what is delivered without a unit is there until the next reboot, and not only after it.
    pub fn lasts_until_reboot(&self) -> bool {
        self.live() && self.action != Action::Boot
    }

    /// What a host that went back has again, and should not: values that had been rotated away. As a person reads it.
    pub fn back_again(&self) -> Vec<String> {
        let changed = self.secrets.iter().filter(|secret| secret.change == Change::Changed);
        let back = changed.filter_map(|secret| {
            let (from, to) = secret.from.zip(secret.to)?;
            Some(format!("{} is at version {from} again, not at {to}{}", secret.name, secret.known()))
        });
        back.collect()
    }
}
