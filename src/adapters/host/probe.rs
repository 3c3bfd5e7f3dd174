//! Runs a declared check on the machine of a root.

use std::process::Stdio;
use std::time::Duration;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::host::units;
use crate::adapters::process::Invocation;
use crate::domain::name::{HostName, UnixName};
use crate::domain::policy::Probe;
use crate::error::{Error, Result};

/// The time limit of a check's command.
const LIMIT: Duration = Duration::from_secs(30);
/// The system's PATH.
const PROGRAMS: &str = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/bin:/usr/sbin:/bin:/sbin";

pub fn look(root: &Root, host: Option<&HostName>, probe: &Probe) -> Result<()> {
    let not = |what: String| Err(Error::failed(what));
    match probe {
        Probe::Unit(unit) if units::is_active(root, unit)? => Ok(()),
        Probe::Unit(unit) => not(format!("{unit} is not active")),
        Probe::NoFailedUnits => match units::failing_units(root) {
            None => not("there is no systemd to ask".to_owned()),
            Some(units) if units.is_empty() => Ok(()),
            Some(units) => not(format!("failed: {}", units.into_iter().collect::<Vec<_>>().join(", "))),
        },
        Probe::HostName | Probe::Called(_) => {
            let file = if root.is_machine() { "/proc/sys/kernel/hostname" } else { "/etc/hostname" };
            let name = root.text(file).unwrap_or_default();
            let may = match probe {
                Probe::Called(configuration) => [configuration.as_str(), configuration.host_name()].contains(&&*name),
                _ => false,
            };
            if may || host.is_some_and(|host| host.as_str() == name) {
                Ok(())
            } else {
                not(format!("its host name is `{name}`"))
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
        Probe::Deployed => not("its command is not part of the system that runs: deploy it first".to_owned()),
        Probe::LoginShell(user) => login_shell(root, user),
        Probe::Program { name, user } => program(root, name, user.as_ref()),
        Probe::Gpu(driver) => gpu(root, driver.as_deref()),
        Probe::Port(port) if is_listened_on(*port) => Ok(()),
        Probe::Port(port) => not(format!("nothing listens on TCP port {port}")),
        Probe::Unknown(_) => not("sealift-host on this machine is too old to know this kind of check".to_owned()),
    }
}

/// Runs a command inside the root, as root or as `user` (`uid:gid`).
fn command(root: &Root, user: Option<&str>, words: &[String]) -> Result<()> {
    let call = Invocation::new("chroot");
    let call = user.iter().fold(call, |call, user| call.arg(format!("--userspec={user}")));
    let call = call.arg(root.path()).args(words).env("PATH", PROGRAMS).in_dir(root.path());
    let ended = call.leaving(Stdio::null(), LIMIT)?;
    if ended.success() { Ok(()) } else { Err(Error::failed(format!("{}: {ended}", call.name()))) }
}

/// The fields of a user's line in the machine's passwd file.
fn entry(root: &Root, user: &UnixName) -> Option<Vec<String>> {
    let users = root.text("/etc/passwd").unwrap_or_default();
    let mut lines = users.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    lines.find(|fields| fields.first().is_some_and(|name| name == user.as_str()))
}

/// Starts a user's login shell.
fn login_shell(root: &Root, user: &UnixName) -> Result<()> {
    match entry(root, user).as_deref() {
        Some([_, _, uid, gid, _, _, shell, ..]) if !shell.is_empty() => {
            let words = [shell.clone(), "-l".to_owned(), "-c".to_owned(), "exit 0".to_owned()];
            command(root, Some(&format!("{uid}:{gid}")), &words)
        }
        _ => Err(Error::failed(format!("there is no user {user} with a login shell"))),
    }
}

/// Checks for a program in the system's PATH and, if a user is given, in the profiles that NixOS and home-manager make
/// for that user.
fn program(root: &Root, name: &str, user: Option<&UnixName>) -> Result<()> {
    let mut places: Vec<String> = PROGRAMS.split(':').map(str::to_owned).collect();
    if let Some(user) = user {
        let Some(home) = entry(root, user).and_then(|fields| fields.into_iter().nth(5)) else {
            return Err(Error::failed(format!("there is no user {user}")));
        };
        places.push(format!("/etc/profiles/per-user/{user}/bin"));
        places.extend([".nix-profile/bin", ".local/state/nix/profile/bin"].map(|place| format!("{home}/{place}")));
    }
    if places.iter().any(|place| root.is_program(&format!("{place}/{name}"))) {
        return Ok(());
    }
    let whose = user.map_or_else(|| "the system".to_owned(), ToString::to_string);
    Err(Error::failed(format!("{name} is not on the PATH of {whose}")))
}

/// Checks for a render node and, if given, for its driver.
fn gpu(root: &Root, driver: Option<&str>) -> Result<()> {
    let nodes = root.list("/dev/dri").into_iter().filter(|node| node.starts_with("renderD"));
    let found: Vec<String> = nodes
        .map(|node| {
            let link = root.link(&format!("/sys/class/drm/{node}/device/driver")).unwrap_or_default();
            link.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect();
    match driver {
        None if found.is_empty() => Err(Error::failed("there is no GPU: nothing in /dev/dri can render")),
        None => Ok(()),
        Some(driver) if found.iter().any(|found| found == driver) => Ok(()),
        Some(driver) if found.is_empty() => {
            Err(Error::failed(format!("there is no GPU under {driver}: nothing in /dev/dri can render")))
        }
        Some(driver) => Err(Error::failed(format!("no GPU is under {driver}, but under {}", found.join(", ")))),
    }
}

/// Whether a TCP socket listens on this port, IPv4 or IPv6, on any address.
fn is_listened_on(port: u16) -> bool {
    /// `TCP_LISTEN` in the kernel's table.
    const LISTEN: &str = "0A";
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        files::read_kernel(table).unwrap_or_default().lines().skip(1).any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, ..] = fields[..] else { return false };
            state == LISTEN && local.rsplit_once(':').is_some_and(|(_, text)| text == format!("{port:04X}"))
        })
    })
}

/// Whether the kernel has a default route, IPv4 or IPv6.
fn has_default_route() -> bool {
    let lines = |path: &str| files::read_kernel(path).unwrap_or_default();
    let v4 = lines("/proc/net/route").lines().skip(1).any(|line| line.split_whitespace().nth(1) == Some("00000000"));
    // Every namespace has an unreachable default route on loopback.
    v4 || lines("/proc/net/ipv6_route").lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [to, "00", .., device] if to.bytes().all(|b| b == b'0') && device != "lo")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let place = tempfile::tempdir().unwrap();
        for folder in
            ["run/current-system/sw/bin", "etc/profiles/per-user/jay/bin", "dev/dri", "sys/class/drm/renderD128/device"]
        {
            std::fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        std::fs::write(place.path().join("etc/passwd"), "jay:x:1000:100::/home/jay:/bin/sh\n").unwrap();
        let root = Root::open(place.path()).unwrap();
        (place, root)
    }

    fn put(root: &Root, path: &str, mode: u32) {
        files::replace(&root.outside(path), b"#!/bin/sh\n", mode, files::Durable::Later).unwrap();
    }

    #[test]
    fn a_program_counts_where_it_can_be_started() {
        let (_place, root) = root();
        let (rg, jay) = ("rg".to_owned(), Some("jay".parse().unwrap()));
        let system = Probe::Program { name: rg.clone(), user: None };
        let of_jay = Probe::Program { name: rg.clone(), user: jay };
        put(&root, "/run/current-system/sw/bin/rg", 0o644);
        assert_eq!(look(&root, None, &system).unwrap_err().message(), "rg is not on the PATH of the system");
        put(&root, "/etc/profiles/per-user/jay/bin/rg", 0o755);
        assert!(look(&root, None, &system).is_err() && look(&root, None, &of_jay).is_ok());
        put(&root, "/run/current-system/sw/bin/rg", 0o755);
        assert!(look(&root, None, &system).is_ok());
        let nobody = Probe::Program { name: rg, user: Some("nobody".parse().unwrap()) };
        assert_eq!(look(&root, None, &nobody).unwrap_err().message(), "there is no user nobody");
    }

    #[test]
    fn a_host_name_counts_as_it_is_here_or_in_the_flake() {
        let (_place, root) = root();
        let host = "web-1".parse().unwrap();
        let called = |name: &str, probe: &Probe| {
            std::fs::write(root.outside("/etc/hostname"), format!("{name}\n")).unwrap();
            look(&root, Some(&host), probe).is_ok()
        };
        let of = |configuration: &str| Probe::Called(configuration.parse().unwrap());
        for (name, probe, success) in [
            ("web-1", Probe::HostName, true),
            ("Web_1", Probe::HostName, false),
            ("web-1", of("Web_1"), true),
            ("Web_1", of("Web_1"), true),
            ("web_1", of("Web_1"), false),
            ("web", of("web.example.org"), true),
            ("web.example.org", of("web.example.org"), true),
            ("web.example", of("web.example.org"), false),
            ("", of("web.example.org"), false),
        ] {
            assert_eq!(called(name, &probe), success, "{name} {probe:?}");
        }
    }

    #[test]
    fn a_port_counts_while_something_listens() {
        let (_place, root) = root();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                assert!(address.starts_with('['), "a machine without IPv4");
                continue;
            };
            let place = listener.local_addr().unwrap();
            let check = Probe::Port(place.port());
            let client = std::net::TcpStream::connect(place).unwrap();
            assert!(look(&root, None, &check).is_ok(), "{address}");
            drop(listener);
            // An open connection is not a listening socket.
            let error = look(&root, None, &check).unwrap_err();
            assert_eq!(error.message(), format!("nothing listens on TCP port {}", place.port()));
            drop(client);
        }
    }

    #[test]
    fn a_gpu_counts_under_its_driver() {
        let (place, root) = root();
        assert!(look(&root, None, &Probe::Gpu(None)).unwrap_err().message().contains("there is no GPU"));
        put(&root, "/dev/dri/card0", 0o644);
        assert!(look(&root, None, &Probe::Gpu(None)).is_err(), "a screen alone is no GPU that programs can use");
        put(&root, "/dev/dri/renderD128", 0o644);
        let driver = place.path().join("sys/class/drm/renderD128/device/driver");
        std::os::unix::fs::symlink("../../../../bus/pci/drivers/amdgpu", driver).unwrap();
        assert!(look(&root, None, &Probe::Gpu(None)).is_ok());
        assert!(look(&root, None, &Probe::Gpu(Some("amdgpu".into()))).is_ok());
        let error = look(&root, None, &Probe::Gpu(Some("nvidia".into()))).unwrap_err();
        assert_eq!(error.message(), "no GPU is under nvidia, but under amdgpu");
    }
}
