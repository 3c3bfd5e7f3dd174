//! The declared checks of a host, and the commands that they run.

use crate::domain::deploy::diff::Commands;
use crate::domain::deploy::protocol::Look;
use crate::domain::name::HostName;
use crate::domain::policy::{Policy, Probe};

/// The declared checks of a host. A check that runs a command gets it from the deployed system, not from the policy.
pub fn checks(policy: &Policy, host: &HostName) -> Vec<Look> {
    let of_host = policy.checks.iter().filter(|(_, check)| check.hosts.contains(host));
    let configuration = policy.configuration(host);
    let deployed = |probe: &Probe| match probe {
        Probe::Command(_) => Probe::Deployed,
        Probe::HostName if configuration.as_str() != host.as_str() => Probe::Called(configuration.clone()),
        probe => probe.clone(),
    };
    of_host.map(|(name, check)| Look { name: name.clone(), probe: deployed(&check.probe) }).collect()
}

/// The commands of a host's checks, as the policy declares them. The plan shows them before the user confirms it.
pub fn commands(policy: &Policy, host: &HostName) -> Commands {
    let of_host = policy.checks.iter().filter(|(_, check)| check.hosts.contains(host));
    let words = |probe: &Probe| match probe {
        Probe::Command(words) => Some(words.clone()),
        _ => None,
    };
    of_host.filter_map(|(name, check)| Some((name.clone(), words(&check.probe)?))).collect()
}

/// Fills in the command of each check that takes it from the system. A check without one in `commands` stays unchanged.
pub fn with_commands(checks: &[Look], commands: &Commands) -> Vec<Look> {
    let filled = |look: &Look| match (&look.probe, commands.get(&look.name)) {
        (Probe::Deployed, Some(words)) => Look { name: look.name.clone(), probe: Probe::Command(words.clone()) },
        _ => look.clone(),
    };
    checks.iter().map(filled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_one_that_the_system_carries() {
        let deployed = |name: &str| Look { name: name.into(), probe: Probe::Deployed };
        let words = |word: &str| vec![word.to_owned()];
        let commands = Commands::from([("a".to_owned(), words("true")), ("host".to_owned(), words("reboot"))]);
        let host = Look { name: "host".into(), probe: Probe::HostName };
        let checks = with_commands(&[deployed("a"), deployed("b"), host.clone()], &commands);
        let carried = Look { name: "a".into(), probe: Probe::Command(words("true")) };
        assert_eq!(checks, [carried, deployed("b"), host]);
    }
}
