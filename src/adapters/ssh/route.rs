//! The route to a host: what the user's ssh_config makes of an address, and which jump hosts it leads through.

use std::sync::OnceLock;

use crate::adapters::process::Invocation;
use crate::domain::address::Address;
use crate::domain::name::HostName;
use crate::error::{Error, Kind, Result};

/// More jump hosts than anybody has: a loop.
const HOPS: usize = 8;

/// The result of ssh_config for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub user: String,
    /// The name or IP address that ssh connects to.
    pub name: String,
    pub port: String,
    /// The key exchange algorithms that both ssh and the user's configuration allow, preferred ones first.
    exchanges: Vec<String>,
    /// The jump hosts, in the order in which they are passed.
    jumps: Vec<Address>,
}

impl Endpoint {
    pub fn of(address: &Address) -> Result<Self> {
        // With a command, because a configuration that forks or has its own RemoteCommand requires one; nothing is run.
        let call = Invocation::new("ssh").args(["-G", "-T", "-oRemoteCommand=none"]);
        let call = call.args(destination(address)).arg("true");
        let output = call.run()?;
        if !output.ended.success() {
            return Err(call.failure(&output).of_kind(Kind::Unreachable).about(&address.host));
        }
        Self::read(&String::from_utf8_lossy(&output.stdout))
    }

    /// The same key exchange algorithms with a cheap one first: for a connection that transfers nothing that must stay
    /// secret for years. Generating a key for sntrup761, the default before OpenSSH 9.9, takes a tenth of a second.
    pub fn quick_exchange(&self) -> Option<String> {
        let quick = ["mlkem768x25519-sha256", "curve25519-sha256"];
        let first = quick.into_iter().find(|quick| self.exchanges.iter().any(|known| known == quick))?;
        let rest = self.exchanges.iter().map(String::as_str).filter(|known| *known != first);
        Some(format!("KexAlgorithms={}", std::iter::once(first).chain(rest).collect::<Vec<_>>().join(",")))
    }

    fn read(text: &str) -> Result<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).unwrap_or("");
        let jump = value("proxyjump");
        let jumps = jump.split(',').filter(|hop| !hop.is_empty() && *hop != "none").map(|hop| {
            parse(hop).ok_or_else(|| {
                Error::new(Kind::Unreachable, format!("the jump host {hop} of ssh_config is not understood"))
                    .help("write it as `ProxyJump [user@]host[:port]`, or use an alias")
            })
        });
        Ok(Self {
            user: value("user").to_owned(),
            name: value("hostname").to_owned(),
            port: value("port").to_owned(),
            exchanges: value("kexalgorithms").split(',').map(str::to_owned).collect(),
            jumps: jumps.collect::<Result<_>>()?,
        })
    }
}

/// Parses an element of `ProxyJump`: `[user@]host[:port]` or a URL. The user comes from the user's own configuration
/// and may contain unusual characters.
fn parse(hop: &str) -> Option<Address> {
    let hop = hop.strip_prefix("ssh://").unwrap_or(hop);
    let (user, place) = hop.rsplit_once('@').map_or((None, hop), |(user, place)| (Some(user.to_owned()), place));
    Some(Address { user, ..Address::parse(&format!("ssh://{place}"))? })
}

/// The arguments that give ssh its destination. None of it can be taken for an option.
pub fn destination(address: &Address) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(user) = &address.user {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = address.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    words.extend(["--".to_owned(), address.host.clone()]);
    words
}

/// The jump hosts to an address, in the order in which they are passed: those that ssh_config has for it, preceded by
/// those for the first of them.
///
/// Fails like `Endpoint::of`, and if they form a loop.
pub fn jumps(place: &Endpoint) -> Result<Vec<Address>> {
    let mut hops = place.jumps.clone();
    let mut first = hops.first().cloned();
    while let Some(hop) = first {
        let before = Endpoint::of(&hop)?.jumps;
        first = before.first().cloned();
        hops.splice(0..0, before);
        if hops.len() > HOPS {
            return Err(Error::new(
                Kind::Unreachable,
                format!("the jump hosts to {} go round in a circle", place.name),
            )
            .help("see `ProxyJump` in ssh_config"));
        }
    }
    Ok(hops)
}

/// The hosts of the fleet, to recognize them when they are jump hosts.
pub struct PinnedHosts {
    hosts: Vec<(HostName, Address, Vec<String>)>,
    /// Their endpoints by ssh_config; resolved only when there is a jump host.
    places: OnceLock<Vec<Option<Endpoint>>>,
}

impl PinnedHosts {
    /// Takes each host's name, address and pins.
    pub fn new(hosts: impl Iterator<Item = (HostName, Address, Vec<String>)>) -> Self {
        Self { hosts: hosts.collect(), places: OnceLock::new() }
    }

    /// The fleet host that a jump host is: by its name or address in the policy, or by the name and port that ssh
    /// connects to.
    pub fn find(&self, hop: &Address) -> Result<Option<(&HostName, &[String])>> {
        let same = |name: &HostName, address: &Address| {
            [name.as_str(), &address.host].iter().any(|known| known.eq_ignore_ascii_case(&hop.host))
        };
        let mut found = self.hosts.iter().find(|(name, address, _)| same(name, address));
        if found.is_none() {
            let place = Endpoint::of(hop)?;
            let places = self
                .places
                .get_or_init(|| self.hosts.iter().map(|(_, address, _)| Endpoint::of(address).ok()).collect());
            let goes = |other: &Endpoint| other.name.eq_ignore_ascii_case(&place.name) && other.port == place.port;
            found =
                self.hosts.iter().zip(places).find(|(_, other)| other.as_ref().is_some_and(goes)).map(|(host, _)| host);
        }
        Ok(found.map(|(name, _, pins)| (name, pins.as_slice())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_of_an_address_is_understood() {
        let place =
            Endpoint::read("user jay\nhostname 10.0.0.5\nport 22\nproxyjump a+b@one:2200,[::1]:33,two\n").unwrap();
        assert_eq!((place.user.as_str(), place.name.as_str(), place.port.as_str()), ("jay", "10.0.0.5", "22"));
        let shown: Vec<_> = place.jumps.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["ssh://a+b@one:2200", "ssh://[::1]:33", "two"]);
        assert_eq!(Endpoint::read("hostname x\nproxyjump none\n").unwrap().jumps, []);
        assert!(Endpoint::read("hostname x\nproxyjump -oProxyCommand=x\n").is_err());
    }

    #[test]
    fn a_quick_exchange_comes_first_and_none_is_added() {
        let quick = |list: &str| Endpoint::read(&format!("kexalgorithms {list}\n")).unwrap().quick_exchange();
        let (slow, old) = ("sntrup761x25519-sha512", "ecdh-sha2-nistp256");
        assert_eq!(
            quick(&format!("{slow},curve25519-sha256,{old}")).unwrap(),
            format!("KexAlgorithms=curve25519-sha256,{slow},{old}")
        );
        assert_eq!(
            quick(&format!("{slow},curve25519-sha256,mlkem768x25519-sha256")).unwrap(),
            format!("KexAlgorithms=mlkem768x25519-sha256,{slow},curve25519-sha256")
        );
        assert_eq!(quick(old), None);
    }

    #[test]
    fn a_destination_is_never_an_option() {
        let address = Address { user: Some("-x".into()), host: "web".into(), port: Some(1) };
        assert_eq!(destination(&address), ["-l", "-x", "-p", "1", "--", "web"]);
    }
}
