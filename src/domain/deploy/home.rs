//! home-manager homes that are not part of a system: what the flake defines, what a user has now, and what changes.

use serde::{Deserialize, Serialize};

use crate::domain::name::{Configuration, UnixName};

/// A home to be switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    pub user: UnixName,
    /// The store path of its activation package.
    pub package: String,
    /// The generation of the user's profile to roll back to. `None` creates a new generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// The planned change of a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeChange {
    pub user: UnixName,
    /// The active package; `None` if there is none, or if the user who logs in must not see it.
    pub former: Option<String>,
    pub package: String,
    /// Why it is left unchanged; `None` if it is switched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

impl HomeChange {
    /// The change as shown to a person.
    pub fn line(&self) -> String {
        let Self { user, former, package, left } = self;
        match (left, former) {
            (Some(why), _) => format!("home of {user}: left as it is: {why}"),
            (None, Some(former)) => format!("home of {user}: {former}\n  → {package}"),
            (None, None) => format!("home of {user}: {package}"),
        }
    }
}

/// The state of home-manager for a user, from the user's own profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub user: UnixName,
    /// The store path of the active package.
    pub active: Option<String>,
    /// The current generation of the profile.
    pub generation: Option<u64>,
    /// All generations, oldest first.
    pub generations: Vec<HomeGeneration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeGeneration {
    /// Its number in the user's profile.
    pub generation: u64,
    /// When it was created, in UTC.
    pub date: Option<String>,
    /// The store path of its activation package; `None` if that is gone.
    pub package: Option<String>,
}

/// The unit of home-manager's NixOS module that activates a user's home, where the home is part of the system.
pub fn unit_of(user: &UnixName) -> String {
    // Escaped like systemd-escape does.
    format!("home-manager-{}.service", user.as_str().replace('-', "\\x2d"))
}

/// The user in a flake's home name such as `jay@web`, if it is for this configuration. nh and home-manager use the same
/// names.
pub fn user_of(name: &str, configuration: &Configuration) -> Option<UnixName> {
    let (user, of) = name.rsplit_once('@')?;
    (of == configuration.as_str()).then(|| user.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_for_the_host_of_its_name() {
        let user = |name: &str| user_of(name, &"Web_1".parse().unwrap()).map(|user| user.to_string());
        assert_eq!(user("jay@Web_1").as_deref(), Some("jay"));
        for other in ["jay@db", "jay", "@Web_1", "Web_1", "jay@web-1", "jay@web_1", "j/y@Web_1", "-x@Web_1"] {
            assert_eq!(user(other), None, "{other}");
        }
        assert_eq!(unit_of(&"a-b".parse().unwrap()), "home-manager-a\\x2db.service");
    }
}
