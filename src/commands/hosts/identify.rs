//! Identifies which host of the policy a machine is by its pinned key. A name alone proves nothing.

use std::path::Path;

use crate::adapters::fs::root::Root;
use crate::adapters::host::host_key::machine_keys;
use crate::domain::name::HostName;
use crate::domain::policy::{self, Host, Policy};
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Kind, Result};

/// Returns the host of the policy whose pinned key the machine of this root has. If a host is named, it must be that
/// one.
///
/// Fails with `Unreachable` if it is another machine, and with `Usage` if the host is unknown.
pub fn this_machine(policy: &Policy, root: &Root, named: Option<&HostName>) -> Result<HostName> {
    let shown = machine_keys(root);
    let pinned = |host: &Host| host.ssh_keys.iter().any(|key| shown.contains(key));
    let holder = policy.hosts.iter().find(|(_, host)| pinned(host)).map(|(name, _)| name);
    // A host with only an age key has no pinned SSH key, so it is identified by its name.
    let by_name = || {
        let called = policy.called(&root.text("/etc/hostname")?)?;
        policy.hosts.get(called)?.ssh_keys.is_empty().then_some(called)
    };
    if let Some(named) = named {
        let host = policy.host(named)?;
        if pinned(host) || by_name() == Some(named) {
            return Ok(named.clone());
        }
        let folder = format!("{}/etc/ssh", root.path().display().to_string().trim_end_matches('/'));
        let is = holder.map_or_else(|| "a machine that recipients.toml does not have".to_owned(), ToString::to_string);
        return Err(Error::new(
            Kind::Unreachable,
            format!("this is not {named}: the host key in {folder} is that of {is}"),
        )
        .because(format!("recipients.toml pins {}", fingerprints(&host.ssh_keys)))
        .help(format!(
            "run this on {named}; if this is {named}, with a new key: `sealift host rekey {named} --key-file {folder}/ssh_host_ed25519_key.pub`"
        )));
    }
    holder.or_else(by_name).cloned().ok_or_else(|| {
        Error::new(Kind::Unreachable, format!("no host of {} has the host key of this machine", policy::FILE)).help(
            "name a host, or add this machine: `sealift host add NAME --key-file /etc/ssh/ssh_host_ed25519_key.pub`",
        )
    })
}

/// Whether a host is this machine: it has the host's pinned key.
pub fn is_here(host: &Host) -> bool {
    let Ok(root) = Root::open(Path::new("/")) else { return false };
    let shown = machine_keys(&root);
    host.ssh_keys.iter().any(|key| shown.contains(key))
}

fn fingerprints(keys: &[String]) -> String {
    let shown =
        keys.iter().filter_map(|key| Recipient::parse(key).ok()?.ssh_fingerprint()).collect::<Vec<_>>().join(", ");
    if shown.is_empty() { "no SSH key".to_owned() } else { shown }
}
