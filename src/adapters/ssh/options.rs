//! The options of every ssh call, given by `-o` and never by `-F`: the user's ssh_config applies to everything else.
//! Whom to trust and what is forwarded is decided only here. No option contains a blank, because nix splits options at
//! blanks.

use std::path::Path;

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
use sha2::{Digest, Sha256};

use crate::adapters::process::Invocation;
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// For every connection. Errors are reported whatever the user's log level; nothing is forwarded; a silent peer is
/// given up after 15 seconds.
const EVERY: [&str; 13] = [
    "LogLevel=ERROR",
    "RemoteCommand=none",
    "RequestTTY=no",
    "EscapeChar=none",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "VisualHostKey=no",
    "ConnectTimeout=10",
    "ConnectionAttempts=1",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
];

/// For every connection to a fleet host: only the pins decide, and nothing else that ssh could trust.
const PINNED: [&str; 7] = [
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "NoHostAuthenticationForLocalhost=no",
    "FingerprintHash=sha256",
];

/// The same, for options that older versions of ssh do not know and reject; then no configuration can set them either.
/// Kerberos could authenticate a host without any host key.
const PINNED_NEWER: [&str; 2] = ["KnownHostsCommand=none", "GSSAPIKeyExchange=no"];

/// For every connection, if ssh knows them.
const EVERY_NEWER: [&str; 2] = ["StdinNull=no", "ForkAfterAuthentication=no"];

/// For calls that run something. Separate, because ssh rejects it together with `-N`, which nix uses.
const CALLS_NEWER: [&str; 1] = ["SessionType=default"];

/// The newer options that the installed ssh knows.
#[derive(Clone, Debug)]
pub struct Known(Vec<&'static str>);

impl Known {
    pub fn ask() -> Result<Self> {
        let newer: Vec<_> = PINNED_NEWER.into_iter().chain(EVERY_NEWER).chain(CALLS_NEWER).collect();
        let call = |options: &[&str]| {
            let options = options.iter().flat_map(|option| ["-o", option]);
            Invocation::new("ssh").args(["-G", "-T"]).args(options).args(["--", "sealift"])
        };
        if call(&newer).run()?.ended.success() {
            return Ok(Self(newer));
        }
        let plain = call(&[]);
        let output = plain.run()?;
        if !output.ended.success() {
            return Err(plain
                .failure(&output)
                .about("ssh cannot be used")
                .help("correct ssh_config: `ssh -G HOST` shows what it says"));
        }
        let takes = |option: &&str| call(&[*option]).run().is_ok_and(|output| output.ended.success());
        Ok(Self(newer.into_iter().filter(takes).collect()))
    }

    /// Those for connections to pinned hosts.
    pub fn pinned_newer(&self) -> impl Iterator<Item = &'static str> {
        self.of(&PINNED_NEWER)
    }

    fn of(&self, newer: &[&'static str]) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied().filter(|option| newer.contains(option)).collect::<Vec<_>>().into_iter()
    }
}

/// The host keys that a host may present.
#[derive(Clone, Debug)]
pub struct Pins {
    host: String,
    alias: String,
    keys: Vec<(String, String)>,
}

impl Pins {
    /// The pinned keys of a host, each `type base64`.
    ///
    /// Fails if there are none, or if one is not a key: nothing else may get into a known_hosts file.
    pub fn new(host: &HostName, pins: &[String]) -> Result<Self> {
        let refused = |what: &str| {
            Error::new(crate::error::Kind::Unreachable, format!("{host}: {what}, so no machine can prove that it is this host"))
                .help(format!(
                    "pin it in recipients.toml: `ssh_keys = [\"ssh-ed25519 AAAA…\"]` under [hosts.{host}], from its /etc/ssh/ssh_host_ed25519_key.pub"
                ))
        };
        let key = |pin: &String| {
            let (kind, blob) = pin.split_once(' ')?;
            let plain = !blob.is_empty() && blob.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
            (algorithms(kind).is_some() && plain).then(|| (kind.to_owned(), blob.to_owned()))
        };
        let keys =
            pins.iter().map(key).collect::<Option<Vec<_>>>().ok_or_else(|| refused("a pinned SSH key is damaged"))?;
        if keys.is_empty() {
            return Err(refused("it has no pinned SSH host key"));
        }
        Ok(Self { host: host.to_string(), alias: format!("sealift-{host}"), keys })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name that ssh uses for the host instead of its address, so that port and address do not matter.
    pub fn alias(&self) -> &str {
        &self.alias
    }

    pub fn known_hosts(&self) -> String {
        let lines = self.keys.iter().map(|(kind, blob)| format!("{} {kind} {blob}", self.alias));
        lines.chain([String::new()]).collect::<Vec<_>>().join("\n")
    }

    /// The fingerprints with the key types, as ssh prints them.
    pub fn fingerprints(&self) -> Vec<String> {
        let one = |(kind, blob): &(String, String)| {
            let wire = BASE64_STANDARD_NO_PAD.decode(blob.trim_end_matches('=')).unwrap_or_default();
            format!("SHA256:{} ({})", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(wire)), plain_name(kind))
        };
        self.keys.iter().map(one).collect()
    }

    /// The options that make ssh accept only these keys, which are in `file`.
    pub fn options(&self, file: &Path, known: &Known) -> Vec<String> {
        let mut kinds: Vec<&str> = self.keys.iter().filter_map(|(kind, _)| algorithms(kind)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let own = [
            format!("HostKeyAlias={}", self.alias),
            format!("UserKnownHostsFile={}", file.display()),
            // No certificates: their signers are not pinned.
            format!("HostKeyAlgorithms={}", kinds.join(",")),
        ];
        let fixed = PINNED.into_iter().chain(known.of(&PINNED_NEWER)).map(str::to_owned);
        own.into_iter().chain(fixed).collect()
    }
}

/// The signature algorithms for a key of this type; `None` for types that cannot be pinned.
pub fn algorithms(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ssh-ed25519" => "ssh-ed25519",
        "ssh-rsa" => "rsa-sha2-512,rsa-sha2-256",
        "ecdsa-sha2-nistp256" => "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384" => "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521" => "ecdsa-sha2-nistp521",
        _ => return None,
    })
}

/// The key type as ssh shows it to users.
fn plain_name(kind: &str) -> &'static str {
    match kind {
        "ssh-ed25519" => "ED25519",
        "ssh-rsa" => "RSA",
        _ => "ECDSA",
    }
}

/// The options of a connection that only forwards others.
pub fn of_master(known: &Known) -> Vec<String> {
    let fixed = EVERY.into_iter().chain(known.of(&EVERY_NEWER)).chain(["PermitLocalCommand=no"]);
    fixed.map(str::to_owned).collect()
}

/// The options of a call that runs something.
pub fn of_call(known: &Known) -> Vec<String> {
    of_master(known).into_iter().chain(known.of(&CALLS_NEWER).map(str::to_owned)).collect()
}

/// The options of nix's calls. Newer versions of nix need their own `LocalCommand`, so that is left alone.
pub fn of_nix(known: &Known) -> Vec<String> {
    EVERY.into_iter().chain(known.of(&EVERY_NEWER)).map(str::to_owned).collect()
}

/// The options of the command that only forwards: no configuration may make it fork or close its input.
pub fn of_carrier(known: &Known) -> Vec<String> {
    known.of(&EVERY_NEWER).map(|option| format!("-o{option}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::quoted;

    fn pins(keys: &[&str]) -> Result<Pins> {
        Pins::new(&"web".parse().unwrap(), &keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>())
    }

    const KNOWN: fn() -> Known = || Known(PINNED_NEWER.into_iter().chain(EVERY_NEWER).chain(CALLS_NEWER).collect());

    #[test]
    fn a_host_without_pins_or_with_something_else_is_refused_with_the_mend() {
        for bad in [
            &[][..],
            &["ssh-ed25519"],
            &["ssh-dss AAAA"],
            &["ssh-ed25519 AAAA\nother ssh-ed25519 BBBB"],
            &["ssh-ed25519 AAAA comment"],
            &["@cert-authority ssh-ed25519"],
        ] {
            let error = pins(bad).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Unreachable, "{bad:?}");
            assert!(error.advice().unwrap().contains("ssh_keys = ["), "{bad:?}");
        }
    }

    #[test]
    fn only_the_pinned_kinds_of_key_are_asked_for_and_never_certificates() {
        let pins = pins(&["ssh-rsa AAAA", "ssh-ed25519 BBBB", "ssh-ed25519 CCCC"]).unwrap();
        let options = pins.options(Path::new("/r/p"), &KNOWN());
        assert!(options.contains(&"HostKeyAlgorithms=rsa-sha2-512,rsa-sha2-256,ssh-ed25519".to_owned()), "{options:?}");
        assert_eq!(
            pins.known_hosts(),
            "sealift-web ssh-rsa AAAA\nsealift-web ssh-ed25519 BBBB\nsealift-web ssh-ed25519 CCCC\n"
        );
    }

    #[test]
    fn no_option_holds_a_blank() {
        let pins = pins(&["ssh-ed25519 BBBB"]).unwrap();
        let known = KNOWN();
        for option in pins.options(Path::new("/r/p"), &known).into_iter().chain(of_call(&known)).chain(of_nix(&known)) {
            assert!(!option.contains(char::is_whitespace) && option.contains('='), "{option}");
        }
    }

    #[test]
    fn the_shells_give_back_each_word() {
        let words =
            ["plain", "", "a b", "it's", "back\\slash", "\\'", "$(x)`y`\"z\"", "*?[~]{a,b}", "#;&|<>!^%=", "-o", "\n"];
        let line = words.map(quoted).join(" ");
        let expected: String = words.iter().flat_map(|word| [*word, "\0"]).collect();
        let mut tried = 0;
        for shell in ["sh", "bash", "zsh", "fish"] {
            let Ok(printed) = Invocation::new(shell).args(["-c", &format!("printf '%s\\0' {line}")]).read() else {
                continue;
            };
            assert_eq!(String::from_utf8(printed).unwrap(), expected, "{shell}");
            tried += 1;
        }
        assert!(tried > 0);
    }
}
