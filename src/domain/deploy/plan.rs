//! The plan of a deploy: what will change on a host. The same value is displayed, written as JSON, and carried out.
//! Also the saved state of a deploy to several hosts, so that it can be reviewed first and resumed later.

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

/// The version of the campaign format.
pub const VERSION: u32 = 1;

/// A deploy to several hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    pub version: u32,
    /// Its identifier, also used on the hosts.
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
    /// Whether the system was built on the host itself and exists only in its store.
    #[serde(default)]
    pub there: bool,
    #[serde(default)]
    pub state: State,
}

/// The progress of a host in a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    #[default]
    Pending,
    /// The request was sent to the host.
    Begun,
    Ended(Outcome),
    /// Another deploy to the host came later.
    Superseded,
}

impl State {
    /// Whether nothing is left to do.
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
    /// What happens to the running specialisation, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<Kept>,
    /// The running system, if any.
    pub former: Option<String>,
    /// The versions of NixOS, before and after.
    pub versions: (Option<String>, String),
    /// Packages that differ, one line each.
    pub packages: Vec<String>,
    /// The same as data: name, versions and size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PackageChange>,
    /// The closure sizes before and after, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure: Option<Sizes>,
    /// The program that wrote the lines in `packages`; `None` if sealift did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_by: Option<Differ>,
    /// Why the packages were not compared.
    pub not_compared: Option<String>,
    /// Secrets that change.
    pub secrets: Vec<SecretChange>,
    /// Units that are restarted or reloaded because of these secrets.
    pub secret_units: BTreeSet<String>,
    /// Units of the system that differ.
    pub units: UnitChanges,
    /// What a reboot is needed for.
    pub reboot: Reboot,
    /// Whether the secrets last only until the next reboot because no unit of the system delivers them.
    pub until_reboot: bool,
    /// Commands of checks that are taken from recipients.toml and run as root on the host, because the system carries
    /// none.
    #[serde(default, skip_serializing_if = "Commands::is_empty")]
    pub commands: Commands,
    /// The homes that are not part of the system, with the change of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<home::HomeChange>,
    /// Whether only homes are switched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_homes: bool,
}

/// What happens to a running specialisation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub name: String,
    /// The specialisation of the same name in the new system, which is activated; `None` if the new system itself is.
    pub system: Option<String>,
    pub left: Option<String>,
}

impl Kept {
    /// Decides what happens to the running specialisation. `base`: the user asked for the system itself.
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
    /// Compares the new system with the running one. `packages`: the difference of the closures, or why there is none.
    /// `policy` is used to find removed hosts.
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

    /// Adds the homes to switch: users and their activation packages, as the flake defines them.
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

    /// Sets the system and the specialisation, where a specialisation was compared or the running one is left.
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

    /// The request to the host. Fields that only the caller knows are left empty. `acknowledge`: how many seconds the
    /// host waits for a new connection, if the switch could break the current one.
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

    /// Whether the running system, or one of its secrets, changes.
    pub fn changes_the_system(&self) -> bool {
        !self.only_homes && (self.former.as_ref() != Some(self.activates()) || !self.secrets.is_empty())
    }

    /// Whether the system can be activated live.
    pub fn live(&self) -> bool {
        self.reboot.blocks.is_empty()
    }

    /// Whether secrets delivered without a unit are present until the next reboot, and not only after it.
    pub fn lasts_until_reboot(&self) -> bool {
        self.live() && self.action != Action::Boot
    }

    /// Values that a host has again after a rollback although they had been rotated, one line for each, as shown to a
    /// person.
    pub fn back_again(&self) -> Vec<String> {
        let changed = self.secrets.iter().filter(|secret| secret.change == Change::Changed);
        let back = changed.filter_map(|secret| {
            let (from, to) = secret.from.zip(secret.to)?;
            Some(format!("{} is at version {from} again, not at {to}{}", secret.name, secret.known()))
        });
        back.collect()
    }
}
