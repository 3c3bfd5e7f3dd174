//! Homes of home-manager that are no part of a system: what a flake has for a machine, what a user has there, and what comes.

use serde::{Deserialize, Serialize};

use crate::domain::name::{Configuration, UnixName};

/// A home that is to be switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    pub user: UnixName,
    /// The store path of its activation package.
    pub package: String,
    /// The generation of the user's profile that this is, where it goes back to one; none: it becomes a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// What becomes of a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeChange {
    pub user: UnixName,
    /// The one that is active; none where there is none, or where the user who looks may not see it.
    pub former: Option<String>,
    pub package: String,
    /// Why it is left as it is; none: it is switched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

impl HomeChange {
    /// As a person reads it.
    pub fn line(&self) -> String {
        let Self { user, former, package, left } = self;
        match (left, former) {
            (Some(why), _) => format!("home of {user}: left as it is: {why}"),
            (None, Some(former)) => format!("home of {user}: {former}\n  → {package}"),
            (None, None) => format!("home of {user}: {package}"),
        }
    }
}

/// What a user has of home-manager, from the user's own profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub user: UnixName,
    /// The store path of what is active.
    pub active: Option<String>,
    /// The current generation of the profile.
    pub generation: Option<u64>,
    /// All generations, oldest first.
    pub generations: Vec<HomeGeneration>,
}

/// One generation of a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeGeneration {
    /// Its number in the user's profile.
    pub generation: u64,
    /// When it was made, in UTC.
    pub date: Option<String>,
    /// The store path of its activation package; none where that is gone.
    pub package: Option<String>,
}

/// The unit by which a system that brings a user's home activates it: that of home-manager's NixOS module.
pub fn unit_of(user: &UnixName) -> String {
    // As systemd-escape writes it.
    format!("home-manager-{}.service", user.as_str().replace('-', "\\x2d"))
}

/// The user of a home's name in a flake, where it is for this system: `jay@web`, as nh and home-manager look for it.
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
