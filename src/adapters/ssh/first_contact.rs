//! The first contact with a machine that no pin exists for: which host key it shows, and what the user's own known_hosts
//! says of that key. Nobody logs in here, nothing is sent, and nothing is believed: that is for the caller to decide.

use crate::adapters::fs::files;
use crate::adapters::ssh::link::{Link, PATIENCE};
use crate::adapters::ssh::{Ssh, failure, options};
use crate::domain::address::Address;
use crate::domain::name::HostName;
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Kind, Result};

/// The keys that secrets can be sealed to, the better first: the machine shows the first that it has.
const KINDS: &str = "HostKeyAlgorithms=ssh-ed25519,rsa-sha2-512,rsa-sha2-256";
/// Nobody logs in, and no connection that is there already is used: it would prove nothing.
const ALONE: [&str; 5] = [
    "ControlMaster=no",
    "ControlPath=none",
    "BatchMode=yes",
    "PreferredAuthentications=none",
    "NumberOfPasswordPrompts=0",
];
/// Nothing but known_hosts speaks for a key, and nothing is written into the user's own.
const SOBER: [&str; 5] = [
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "NoHostAuthenticationForLocalhost=no",
    "FingerprintHash=sha256",
];

/// A machine that was met.
#[derive(Debug)]
pub struct Met {
    /// The host key that it showed.
    pub key: Recipient,
    /// Where that was, as a person would type it.
    pub place: String,
    /// What the user's known_hosts says of the key.
    pub vouch: Vouch,
}

/// What the user's known_hosts says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouch {
    /// It is the key of this machine.
    Known,
    Unknown,
    /// This machine has another key, or this one was revoked.
    Contradicted,
}

impl Ssh {
    /// Looks which host key the machine at an address shows. It is called by the name that it should have.
    ///
    /// Fails with `Unreachable` when it cannot be reached, or has no key that secrets can be sealed to.
    pub fn meet(&self, name: &HostName, address: &Address) -> Result<Met> {
        let mut link = Link::new(&self.sockets, name.to_string(), address, None)?;
        link.over = self.way(&link.place).map_err(|error| error.about(name))?;
        let key = link.shown_host_key()?;
        let print = key.ssh_fingerprint().unwrap_or_default();
        let vouch = vouch(&link.held_against_known_hosts(&key)?, &print);
        Ok(Met { key, place: link.shown(), vouch })
    }
}

impl Link {
    /// The host key of the machine, written by ssh itself into an empty known_hosts of ours.
    fn shown_host_key(&self) -> Result<Recipient> {
        let file = self.sockets.path();
        files::create(&file, b"", 0o600)?;
        let own = [
            KINDS.to_owned(),
            "HostKeyAlias=sealift-new".to_owned(),
            format!("UserKnownHostsFile={}", file.display()),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "StrictHostKeyChecking=accept-new".to_owned(),
            "HashKnownHosts=no".to_owned(),
        ];
        let said = self.greet(&own, true)?;
        let text = String::from_utf8_lossy(&files::read(&file, 64 << 10)?).into_owned();
        files::remove(&file)?;
        let Some(key) = text.lines().find_map(|line| line.strip_prefix("sealift-new ")) else {
            if failure::is_stranger(&said) {
                let what = format!("{}: {} has no host key that secrets can be sealed to", self.label, self.shown());
                return Err(Error::new(Kind::Unreachable, what)
                    .because(failure::last_lines(&said))
                    .help("give it an ed25519 host key: `ssh-keygen -A` there, then restart sshd"));
            }
            return Err(self.error(&said));
        };
        Recipient::parse(&format!("{} root@{}", key.trim(), self.label)).map_err(|error| error.about(&self.label))
    }

    /// What ssh says when the same machine is held against the user's own known_hosts, whatever ssh_config makes of them.
    fn held_against_known_hosts(&self, key: &Recipient) -> Result<String> {
        let kind = key.canonical().split(' ').next().and_then(options::algorithms).unwrap_or_default();
        let own =
            [format!("HostKeyAlgorithms={kind}"), "StrictHostKeyChecking=yes".to_owned(), "LogLevel=DEBUG1".to_owned()];
        self.greet(&own, false)
    }

    /// Goes as far as the host key, and not further; what ssh says on the way.
    fn greet(&self, own: &[String], alone: bool) -> Result<String> {
        let fixed = ALONE.iter().chain(&SOBER).map(|option| (*option).to_owned());
        // A command of the user's that knows hosts may speak for a key, and not decide which one is shown.
        let newer =
            self.sockets.known.pinned_newer().filter(|option| alone || !option.starts_with("KnownHostsCommand"));
        let all: Vec<String> = own.iter().cloned().chain(fixed).chain(newer.map(str::to_owned)).collect();
        // A machine that lets everybody in runs this word.
        let call = self.ssh(&all, &[], options::of_call(&self.sockets.known), &["-T"]).arg("true");
        let (ended, said) = self.listen(|file| call.leaving(file, PATIENCE))?;
        ended.map(|_| said).map_err(|error| self.late(&error))
    }
}

/// What ssh, told to be strict, found in known_hosts. What the machine itself says before its key is checked stands behind
/// a mark on each of its lines, and is not mistaken for it.
fn vouch(said: &str, fingerprint: &str) -> Vouch {
    if ["REMOTE HOST IDENTIFICATION HAS CHANGED", "REVOKED HOST KEY", "is marked as revoked"]
        .iter()
        .any(|mark| said.contains(mark))
    {
        return Vouch::Contradicted;
    }
    let mut lines = said.lines().map(str::trim);
    let shown = lines.find_map(|line| line.strip_prefix("debug1: Server host key: ")?.split_once(' '));
    let matches = lines.any(|line| line.starts_with("debug1: Host '") && line.contains("' is known and matches the "));
    if matches && shown.is_some_and(|(_, print)| print == fingerprint) { Vouch::Known } else { Vouch::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2\r\ndebug1: Server host key: ssh-ed25519 SHA256:right\r\ndebug1: Host '10.0.0.5' is known and matches the ED25519 host key.\r\njay@10.0.0.5: Permission denied (publickey).\r\n";

    #[test]
    fn only_the_very_key_that_was_shown_is_known() {
        assert_eq!(vouch(KNOWN, "SHA256:right"), Vouch::Known);
        assert_eq!(vouch(KNOWN, "SHA256:other"), Vouch::Unknown);
        assert_eq!(vouch("", "SHA256:right"), Vouch::Unknown);
    }

    #[test]
    fn what_is_contradicted_is_never_just_unknown() {
        for mark in ["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "@ WARNING: REVOKED HOST KEY DETECTED! @"]
        {
            assert_eq!(vouch(&format!("{KNOWN}{mark}\n"), "SHA256:right"), Vouch::Contradicted);
        }
    }

    #[test]
    fn a_machine_cannot_vouch_for_itself() {
        let banner = "debug1: kex_exchange_identification: banner line 0: debug1: Host 'x' is known and matches the ED25519 host key.\ndebug1: Server host key: ssh-ed25519 SHA256:evil\nNo ED25519 host key is known for x and you have requested strict checking.\nHost key verification failed.\n";
        assert_eq!(vouch(banner, "SHA256:evil"), Vouch::Unknown);
        // Nor by what it claims before its key.
        let early = "debug1: Host 'x' is known and matches the ED25519 host key.\ndebug1: Server host key: ssh-ed25519 SHA256:evil\nHost key verification failed.\n";
        assert_eq!(vouch(early, "SHA256:evil"), Vouch::Unknown);
    }
}
