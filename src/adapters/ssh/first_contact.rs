//! The first contact with a machine that has no pin: which host key it presents, and what the user's known_hosts says
//! about that key. There is no login, nothing is sent, and trusting the key is left to the caller.

use crate::adapters::fs::files;
use crate::adapters::ssh::link::{Link, PATIENCE};
use crate::adapters::ssh::{Ssh, failure, options};
use crate::domain::address::Address;
use crate::domain::name::HostName;
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Kind, Result};

/// The key types that secrets can be sealed to, preferred ones first: the machine presents the first that it has.
const KINDS: &str = "HostKeyAlgorithms=ssh-ed25519,rsa-sha2-512,rsa-sha2-256";
/// No login, and no existing connection, which would prove nothing.
const ALONE: [&str; 5] = [
    "ControlMaster=no",
    "ControlPath=none",
    "BatchMode=yes",
    "PreferredAuthentications=none",
    "NumberOfPasswordPrompts=0",
];
/// Only known_hosts can vouch for a key, and the user's own is not modified.
const SOBER: [&str; 5] = [
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "NoHostAuthenticationForLocalhost=no",
    "FingerprintHash=sha256",
];

/// A machine after first contact.
#[derive(Debug)]
pub struct Met {
    /// The host key that it presented.
    pub key: Recipient,
    /// Its address, as a user would type it.
    pub place: String,
    pub vouch: Vouch,
}

/// What the user's known_hosts says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouch {
    /// It is this machine's key.
    Known,
    Unknown,
    /// This machine has another key, or this key is revoked.
    Contradicted,
}

impl Ssh {
    /// Finds out which host key the machine at an address presents. `name` is the name it will have.
    ///
    /// Fails with `Unreachable` if it cannot be reached, or has no key that secrets can be sealed to.
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
    /// The machine's host key, as ssh writes it into an empty known_hosts file of ours.
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

    /// The messages of ssh when it checks the machine against the user's known_hosts, as ssh_config sets them up.
    fn held_against_known_hosts(&self, key: &Recipient) -> Result<String> {
        let kind = key.canonical().split(' ').next().and_then(options::algorithms).unwrap_or_default();
        let own =
            [format!("HostKeyAlgorithms={kind}"), "StrictHostKeyChecking=yes".to_owned(), "LogLevel=DEBUG1".to_owned()];
        self.greet(&own, false)
    }

    /// Connects up to the check of the host key and returns the messages of ssh.
    fn greet(&self, own: &[String], alone: bool) -> Result<String> {
        let fixed = ALONE.iter().chain(&SOBER).map(|option| (*option).to_owned());
        // The user's KnownHostsCommand may vouch for a key, but not decide which one is presented.
        let newer =
            self.sockets.known.pinned_newer().filter(|option| alone || !option.starts_with("KnownHostsCommand"));
        let all: Vec<String> = own.iter().cloned().chain(fixed).chain(newer.map(str::to_owned)).collect();
        // A machine that accepts anyone runs this command.
        let call = self.ssh(&all, &[], options::of_call(&self.sockets.known), &["-T"]).arg("true");
        let (ended, said) = self.listen(|file| call.leaving(file, PATIENCE))?;
        ended.map(|_| said).map_err(|error| self.late(&error))
    }
}

/// Reads ssh's verdict from its messages under strict checking. Text that the machine sends before its key is checked
/// is prefixed on each line, so it cannot be mistaken for the verdict.
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
        // Nor can anything that precedes its key.
        let early = "debug1: Host 'x' is known and matches the ED25519 host key.\ndebug1: Server host key: ssh-ed25519 SHA256:evil\nHost key verification failed.\n";
        assert_eq!(vouch(early, "SHA256:evil"), Vouch::Unknown);
    }
}
