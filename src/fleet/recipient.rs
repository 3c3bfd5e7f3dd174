//! Recipients: public keys that a secret is sealed to, parsed once. What is kept is the canonical form, so that a key
//! typed twice with another comment or case is one key.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The first 8 bytes of the SHA-256 of a recipient's canonical text. What the seal lists: short enough for a hundred
/// recipients, long enough that finding a second key for one takes 2^64 tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// The first bytes of the digest of a text.
    pub fn of(text: &str) -> Self {
        let mut fingerprint = Self([0; 8]);
        fingerprint.0.copy_from_slice(&Sha256::digest(text.as_bytes())[..8]);
        fingerprint
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The kinds of recipient stanza that a header can be checked for without a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// `age1…`: anonymous in the file.
    X25519,
    /// `ssh-ed25519`: four bytes of the key's hash stand in the file.
    SshEd25519,
    /// `ssh-rsa`: likewise.
    SshRsa,
    /// `age1tag1…`: a hardware key, sealed to without its plugin.
    Tag,
    /// `age1tagpq1…`: the same, post-quantum.
    TagPq,
    /// `age1<plugin>1…`: what stanza it makes is the plugin's own business.
    Plugin,
}

impl KeyKind {
    /// The type of the stanza that such a key makes in an age header; none for plugins.
    pub fn stanza(self) -> Option<&'static str> {
        match self {
            KeyKind::X25519 => Some("X25519"),
            KeyKind::SshEd25519 => Some("ssh-ed25519"),
            KeyKind::SshRsa => Some("ssh-rsa"),
            KeyKind::Tag => Some("p256tag"),
            KeyKind::TagPq => Some("mlkem768p256tag"),
            KeyKind::Plugin => None,
        }
    }
}

/// The parsed key, as the age library wants it.
#[derive(Clone)]
pub enum Key {
    /// A native age key.
    X25519(age::x25519::Recipient),
    /// An SSH public key.
    Ssh(age::ssh::Recipient),
    /// A hardware key.
    Tag(Box<age::tag::Recipient>),
    /// A post-quantum hardware key.
    TagPq(Box<age::tagpq::Recipient>),
    /// A key that a plugin handles.
    Plugin(age::plugin::Recipient),
}

/// A public key that a secret can be sealed to.
#[derive(Clone)]
pub struct Recipient {
    key: Key,
    canonical: String,
    comment: String,
    fingerprint: Fingerprint,
}

impl Recipient {
    /// Parses `age1…`, `ssh-ed25519 …`, `ssh-rsa …` or a plugin's recipient. Never quotes the text in an error: it may
    /// be a private key.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some(error) = private_key(text) {
            return Err(error);
        }
        if text.chars().any(char::is_control) {
            return Err(Error::usage("a recipient is one line without control characters")
                .hint("give each key as a string of its own"));
        }
        if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-") {
            return Self::parse_ssh(text);
        }
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("age1pq1") {
            return Err(Error::usage("post-quantum `age1pq1…` keys are not supported by this version")
                .hint("use an X25519 key (`age1…`), or `age1tagpq1…` from a hardware key"));
        }
        let key = if lower.starts_with("age1tagpq1") {
            lower.parse().map(|key| Key::TagPq(Box::new(key))).map_err(drop)
        } else if lower.starts_with("age1tag1") {
            lower.parse().map(|key| Key::Tag(Box::new(key))).map_err(drop)
        } else if let Ok(key) = lower.parse() {
            Ok(Key::X25519(key))
        } else {
            lower.parse().map(Key::Plugin).map_err(drop)
        };
        let key = key.map_err(|()| {
            Error::usage("not a recipient: it is neither an age key nor an SSH public key, or it is damaged")
                .hint("a recipient begins with `age1`, `ssh-ed25519 ` or `ssh-rsa `")
        })?;
        let canonical = match &key {
            Key::X25519(key) => key.to_string(),
            Key::Tag(key) => key.to_string(),
            Key::TagPq(key) => key.to_string(),
            Key::Plugin(key) => key.to_string(),
            Key::Ssh(key) => key.to_string(),
        };
        Ok(Self::new(key, canonical, String::new()))
    }

    fn parse_ssh(text: &str) -> Result<Self> {
        use age::ssh::ParseRecipientKeyError as Fault;
        let mut words = text.splitn(3, ' ');
        let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let comment = words.next().unwrap_or_default().trim().to_owned();
        let key: age::ssh::Recipient = format!("{kind} {blob}").parse().map_err(|fault| match fault {
            Fault::RsaModulusTooSmall => Error::usage("an ssh-rsa key of less than 2048 bits is too weak")
                .hint("use the machine's ed25519 key: /etc/ssh/ssh_host_ed25519_key.pub"),
            Fault::RsaModulusTooLarge => Error::usage("an ssh-rsa key of more than 4096 bits is not supported")
                .hint("use the machine's ed25519 key: /etc/ssh/ssh_host_ed25519_key.pub"),
            Fault::Unsupported(_) | Fault::Ignore => Error::usage(
                "an ecdsa or security-key SSH key cannot receive secrets: SSH keys of these types only sign",
            )
            .hint("use the machine's ed25519 key: /etc/ssh/ssh_host_ed25519_key.pub"),
            _ if kind != "ssh-ed25519" && kind != "ssh-rsa" => Error::usage(
                "an ecdsa or security-key SSH key cannot receive secrets: SSH keys of these types only sign",
            )
            .hint("use the machine's ed25519 key: /etc/ssh/ssh_host_ed25519_key.pub"),
            _ => Error::usage("a damaged SSH public key").hint("copy the whole line of the .pub file"),
        })?;
        let canonical = key.to_string();
        if canonical != format!("{kind} {blob}") {
            return Err(Error::usage("a damaged SSH public key").hint("copy the whole line of the .pub file"));
        }
        Ok(Self::new(Key::Ssh(key), canonical, comment))
    }

    /// The recipient of a native identity.
    pub fn of_x25519(identity: &age::x25519::Identity) -> Self {
        let key = identity.to_public();
        let canonical = key.to_string();
        Self::new(Key::X25519(key), canonical, String::new())
    }

    /// The recipient of an SSH private key, read from its public half; none for unsupported types.
    pub fn of_ssh(identity: &age::ssh::Identity) -> Option<Self> {
        let key = age::ssh::Recipient::try_from(identity.clone()).ok()?;
        let canonical = key.to_string();
        Some(Self::new(Key::Ssh(key), canonical, String::new()))
    }

    fn new(key: Key, canonical: String, comment: String) -> Self {
        let fingerprint = Fingerprint::of(&canonical);
        Self { key, canonical, comment, fingerprint }
    }

    /// The parsed key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The one text form of this key, without a comment.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The comment of an SSH key, such as `root@nixos`.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// What the seal lists for this key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What stanza this key makes.
    pub fn kind(&self) -> KeyKind {
        match &self.key {
            Key::X25519(_) => KeyKind::X25519,
            Key::Ssh(age::ssh::Recipient::SshEd25519(..)) => KeyKind::SshEd25519,
            Key::Ssh(age::ssh::Recipient::SshRsa(..)) => KeyKind::SshRsa,
            Key::Tag(_) => KeyKind::Tag,
            Key::TagPq(_) => KeyKind::TagPq,
            Key::Plugin(_) => KeyKind::Plugin,
        }
    }

    /// The four bytes by which an SSH key's stanza names it: the start of the SHA-256 of its wire form
    /// (C2SP age, sections "ssh-ed25519" and "ssh-rsa").
    pub fn ssh_tag(&self) -> Option<[u8; 4]> {
        let Key::Ssh(age::ssh::Recipient::SshEd25519(wire, _) | age::ssh::Recipient::SshRsa(wire, _)) = &self.key
        else {
            return None;
        };
        let digest = Sha256::digest(wire);
        Some([digest[0], digest[1], digest[2], digest[3]])
    }

    /// The fingerprint as `ssh-keygen -l` prints it, for SSH keys.
    pub fn ssh_fingerprint(&self) -> Option<String> {
        use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
        let Key::Ssh(age::ssh::Recipient::SshEd25519(wire, _) | age::ssh::Recipient::SshRsa(wire, _)) = &self.key
        else {
            return None;
        };
        Some(format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(wire))))
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Recipient {}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

/// A fingerprint of an SSH key as `ssh-keygen -l` prints it and a person gives it: `SHA256:` and 43 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshFingerprint(String);

impl SshFingerprint {
    /// Whether it is the fingerprint of this key.
    pub fn is_of(&self, key: &Recipient) -> bool {
        key.ssh_fingerprint().as_deref() == Some(&self.0)
    }
}

impl std::str::FromStr for SshFingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
        let digest = text.strip_prefix("SHA256:").map(|digest| digest.trim_end_matches('='));
        match digest.filter(|digest| digest.len() == 43 && digest.bytes().all(plain)) {
            Some(digest) => Ok(Self(format!("SHA256:{digest}"))),
            None => {
                Err("SHA256: and 43 characters, as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints it".into())
            }
        }
    }
}

impl fmt::Display for SshFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The refusal of a text that looks like a private key, wherever a public one was meant.
pub fn private_key(text: &str) -> Option<Error> {
    let upper = text.trim_start().to_ascii_uppercase();
    let marks = ["AGE-SECRET-KEY-", "AGE-PLUGIN-", "-----BEGIN"];
    (marks.iter().any(|mark| upper.starts_with(mark)) || upper.contains("PRIVATE KEY")).then(|| {
        Error::usage("this looks like a private key; only public keys belong here")
            .hint("treat it as leaked if it was ever saved: make a new one, and give its public half (`age1…` or the .pub file)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_key_whatever_its_case_and_comment() {
        let text = age::x25519::Identity::generate().to_public().to_string();
        let (a, b) = (Recipient::parse(&text).unwrap(), Recipient::parse(&text.to_uppercase()).unwrap());
        assert_eq!((a.canonical(), a.fingerprint()), (b.canonical(), b.fingerprint()));
    }

    #[test]
    fn a_private_key_is_refused_and_not_echoed() {
        use age::secrecy::ExposeSecret;
        let secret = age::x25519::Identity::generate().to_string();
        let error = Recipient::parse(secret.expose_secret()).unwrap_err();
        assert!(error.message().contains("private key"));
        assert!(!format!("{error:?}{:?}", error.mend()).contains(secret.expose_secret().get(16..).unwrap()));
    }

    #[test]
    fn what_cannot_receive_is_refused_with_the_way_out() {
        for bad in [
            "",
            "age1",
            "age1pq1qqqq",
            "ssh-ed25519 AAAA",
            "ecdsa-sha2-nistp256 AAAA",
            "ssh-ed25519 AA\nssh-ed25519 BB",
            "hello",
        ] {
            let error = Recipient::parse(bad).unwrap_err();
            assert!(error.mend().is_some(), "{bad:?}: {error:?}");
        }
    }
}
