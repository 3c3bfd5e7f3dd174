//! Looks whether what a check declares is so, on the machine of a root.

use std::time::Duration;

use super::process::Invocation;
use super::rooted::Root;
use super::units;
use crate::error::{Error, Result};
use crate::fleet::name::{HostName, UnixName};
use crate::fleet::policy::Probe;

/// How long a command of a check may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Where a system has its programs.
const PROGRAMS: &str = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/bin:/bin";

/// Looks.
///
/// # Errors
/// What is not as it should be, or why it cannot be told.
pub fn look(root: &Root, host: Option<&HostName>, probe: &Probe) -> Result<()> {
    let not = |what: String| Err(Error::failed(what));
    match probe {
        Probe::Unit(unit) if units::is_active(root, unit)? => Ok(()),
        Probe::Unit(unit) => not(format!("{unit} is not active")),
        Probe::NoFailedUnits => match units::failed_units(root) {
            None => not("there is no systemd to ask".to_owned()),
            Some(units) if units.is_empty() => Ok(()),
            Some(units) => not(format!("failed: {}", units.into_iter().collect::<Vec<_>>().join(", "))),
        },
        Probe::HostName => {
            let file = if root.is_machine() { "/proc/sys/kernel/hostname" } else { "/etc/hostname" };
            let name = root.text(file).unwrap_or_default();
            match host {
                Some(host) if host.as_str() == name => Ok(()),
                _ => not(format!("its host name is `{name}`")),
            }
        }
        Probe::DefaultRoute => {
            if has_default_route() {
                Ok(())
            } else {
                not("there is no default route".to_owned())
            }
        }
        Probe::StoreLink(path) => match root.resolved(path) {
            Some(place) if place.starts_with("/nix/store/") => Ok(()),
            Some(_) => not(format!("{path} does not lead into the store")),
            None => not(format!("{path} leads nowhere")),
        },
        Probe::Exists(path) => {
            if root.exists(path) {
                Ok(())
            } else {
                not(format!("{path} does not exist"))
            }
        }
        Probe::Command(words) => command(root, None, words),
        Probe::LoginShell(user) => login_shell(root, user),
    }
}

/// Runs a command inside the root, as root or as a user and group given by number.
fn command(root: &Root, user: Option<&str>, words: &[String]) -> Result<()> {
    let call = Invocation::new("chroot");
    let call = user.iter().fold(call, |call, user| call.arg(format!("--userspec={user}")));
    call.arg(root.path()).args(words).env("PATH", PROGRAMS).in_dir(root.path()).within(LIMIT)
}

/// Starts a user's login shell.
fn login_shell(root: &Root, user: &UnixName) -> Result<()> {
    let users = root.text("/etc/passwd").unwrap_or_default();
    let entry = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&user.as_str()));
    match entry.as_deref() {
        Some([_, _, uid, gid, _, _, shell, ..]) if !shell.is_empty() => {
            let words = [(*shell).to_owned(), "-l".to_owned(), "-c".to_owned(), "exit 0".to_owned()];
            command(root, Some(&format!("{uid}:{gid}")), &words)
        }
        _ => Err(Error::failed(format!("there is no user {user} with a login shell"))),
    }
}

/// Whether the kernel has a default route, IPv4 or IPv6.
fn has_default_route() -> bool {
    let lines = |path: &str| super::files::read_kernel(path).unwrap_or_default();
    let v4 = lines("/proc/net/route").lines().skip(1).any(|line| line.split_whitespace().nth(1) == Some("00000000"));
    // Loopback has a default route of its own (unreachable) in every namespace.
    v4 || lines("/proc/net/ipv6_route").lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [to, "00", .., device] if to.bytes().all(|b| b == b'0') && device != "lo")
    })
}
