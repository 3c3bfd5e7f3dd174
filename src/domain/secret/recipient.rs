//! Recipients: public keys that a secret is encrypted to, parsed once and stored in canonical form, so that a key given
//! twice with another comment or case counts as one key.

use std::fmt;

use age_core::primitives::{bech32_decode, bech32_encode};
use base64::prelude::{BASE64_STANDARD, Engine};
use sha2::{Digest, Sha256};

use crate::domain::guarded::guarded;
use crate::domain::secret::ssh_wire::{self, Weakness};
use crate::error::{Error, Result};

/// The first 8 bytes of the SHA-256 of a recipient's canonical string, as listed in the seal: short enough for a
/// hundred recipients, long enough that a second key with a given fingerprint takes 2^64 tries to find.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// The fingerprint of a string.
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
    /// `age1…`: its stanza does not identify the key.
    X25519,
    /// `ssh-ed25519`: its stanza has four bytes of the key's hash.
    SshEd25519,
    /// `ssh-rsa`: likewise.
    SshRsa,
    /// `age1tag1…`: a hardware key that is encrypted to without its plugin.
    Tag,
    /// `age1tagpq1…`: the same, post-quantum.
    TagPq,
    /// `age1<plugin>1…`: the plugin decides what stanza it writes.
    Plugin,
}

impl KeyKind {
    /// The stanza type for such a key in an age header; `None` for plugins.
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

/// The parsed key, in the types of the age library.
#[derive(Clone)]
pub enum Key {
    X25519(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
    Tag(Box<age::tag::Recipient>),
    TagPq(Box<age::tagpq::Recipient>),
    /// A key that a plugin handles.
    Plugin(age::plugin::Recipient),
}

/// A public key that a secret can be encrypted to.
#[derive(Clone)]
pub struct Recipient {
    key: Key,
    canonical: String,
    comment: String,
    fingerprint: Fingerprint,
    ssh_tag: Option<[u8; 4]>,
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
                .help("give each key as a string of its own"));
        }
        if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-") {
            return Self::parse_ssh(text);
        }
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("age1pq1") {
            return Err(Error::usage("post-quantum `age1pq1…` keys are not supported by this version")
                .help("use an X25519 key (`age1…`), or `age1tagpq1…` from a hardware key"));
        }
        let not_one = || {
            Error::usage("not a recipient: it is neither an age key nor an SSH public key, or it is damaged")
                .help("a recipient begins with `age1`, `ssh-ed25519 ` or `ssh-rsa `")
        };
        // Bech32 leaves spare bits, and the libraries reduce numbers that are too large: without this check, one key
        // could be written in several ways and pass for two.
        let (bytes, canonical) = decoded(&lower).ok_or_else(not_one)?;
        let key = guarded(|| {
            if lower.starts_with("age1tagpq1") {
                lower.parse().ok().map(|key| Key::TagPq(Box::new(key)))
            } else if lower.starts_with("age1tag1") {
                lower.parse().ok().map(|key| Key::Tag(Box::new(key)))
            } else if let Ok(key) = lower.parse() {
                Some(Key::X25519(key))
            } else {
                lower.parse().ok().map(Key::Plugin)
            }
        });
        let key = key.flatten().ok_or_else(not_one)?;
        let again = match &key {
            Key::TagPq(key) => key.to_string(),
            Key::Tag(key) => key.to_string(),
            _ => canonical.clone(),
        };
        if canonical != lower || again != lower {
            return Err(strange());
        }
        if let (Key::X25519(_), Ok(u)) = (&key, bytes.as_slice().try_into())
            && let Some(error) = x25519_fault(u)
        {
            return Err(error);
        }
        Ok(Self::new(key, canonical, String::new()))
    }

    fn parse_ssh(text: &str) -> Result<Self> {
        let mut words = text.splitn(3, ' ');
        let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let comment = words.next().unwrap_or_default().trim().to_owned();
        if kind != "ssh-ed25519" && kind != "ssh-rsa" {
            return Err(Error::usage(
                "an ecdsa or security-key SSH key cannot receive secrets: SSH keys of these types only sign",
            )
            .help(ED25519));
        }
        let damaged = || Error::usage("a damaged SSH public key").help("copy the whole line of the .pub file");
        let wire = BASE64_STANDARD.decode(blob).map_err(|_| damaged())?;
        match ssh_wire::weakness(kind, &wire) {
            None => {}
            Some(Weakness::Damaged) => return Err(damaged()),
            Some(Weakness::Short) => {
                return Err(Error::usage("an ssh-rsa key of less than 2048 bits is too weak").help(ED25519));
            }
            Some(Weakness::Long) => {
                return Err(Error::usage("an ssh-rsa key of more than 4096 bits is not supported").help(ED25519));
            }
            Some(Weakness::Open(why)) => return Err(open(why)),
        }
        let canonical = format!("{kind} {blob}");
        let key: age::ssh::Recipient = guarded(|| canonical.parse().ok()).flatten().ok_or_else(damaged)?;
        if let age::ssh::Recipient::SshEd25519(wire, point) = &key {
            if point.is_small_order() {
                return Err(open(SMALL));
            }
            if !wire.ends_with(point.compress().as_bytes()) {
                return Err(strange());
            }
        }
        if key.to_string() != canonical {
            return Err(damaged());
        }
        Ok(Self::new(Key::Ssh(key), canonical, comment))
    }

    /// The recipient of a native identity.
    pub fn of_x25519(identity: &age::x25519::Identity) -> Self {
        let key = identity.to_public();
        let canonical = key.to_string();
        Self::new(Key::X25519(key), canonical, String::new())
    }

    /// The recipient of an SSH private key, from its public half; `None` for unsupported types.
    pub fn of_ssh(identity: &age::ssh::Identity) -> Option<Self> {
        let key = guarded(|| age::ssh::Recipient::try_from(identity.clone()).ok()).flatten()?;
        Self::parse(&key.to_string()).ok()
    }

    fn new(key: Key, canonical: String, comment: String) -> Self {
        let fingerprint = Fingerprint::of(&canonical);
        // Worked out once: every file that is looked at is held against it.
        let ssh_tag = match &key {
            Key::Ssh(age::ssh::Recipient::SshEd25519(wire, _) | age::ssh::Recipient::SshRsa(wire, _)) => {
                Sha256::digest(wire).first_chunk().copied()
            }
            _ => None,
        };
        Self { key, canonical, comment, fingerprint, ssh_tag }
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The canonical string of this key, without a comment.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The comment of an SSH key, such as `root@nixos`.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The fingerprint that the seal lists for this key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The kind of stanza for this key.
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

    /// The four bytes that identify the key in an SSH stanza: the start of the SHA-256 of its wire format (C2SP age,
    /// sections "ssh-ed25519" and "ssh-rsa").
    pub fn ssh_tag(&self) -> Option<[u8; 4]> {
        self.ssh_tag
    }

    /// The fingerprint as `ssh-keygen -l` prints it, for SSH keys.
    pub fn ssh_fingerprint(&self) -> Option<String> {
        use base64::prelude::BASE64_STANDARD_NO_PAD;
        let Key::Ssh(age::ssh::Recipient::SshEd25519(wire, _) | age::ssh::Recipient::SshRsa(wire, _)) = &self.key
        else {
            return None;
        };
        Some(format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(wire))))
    }

    /// The key in a short form that a person can recognize: an SSH key's fingerprint, or the start of the string.
    pub fn shown(&self) -> String {
        let begins = || format!("{}…", self.canonical.chars().take(SHOWN).collect::<String>());
        self.ssh_fingerprint().unwrap_or_else(begins)
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

/// An SSH key fingerprint as printed by `ssh-keygen -l` and given by the user: `SHA256:` and 43 characters.
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

/// How many characters of a key are shown.
const SHOWN: usize = 20;

/// What to do about an SSH key that cannot be used.
const ED25519: &str = "use an ed25519 key; a machine's is /etc/ssh/ssh_host_ed25519_key.pub";

/// Why everybody can decrypt what is encrypted to points of small order.
const SMALL: &str = "it is a point of small order, for which every private key gives the same";

/// The start of the error for a key that can be used without its private half.
pub(in crate::domain) const OPEN: &str = "everybody can open what is sealed to this key";

/// The error for a key that can be used without its private half.
fn open(why: &str) -> Error {
    Error::usage(format!("{OPEN}: {why}")).help(
        "no program makes such a key: find out who put it there; it may be somebody who wants to read your secrets",
    )
}

/// The error for a key that is not in canonical form.
fn strange() -> Error {
    Error::usage("this key is not written in its one valid form")
        .help("no program writes it so, and the same key could pass for two: have its owner export it again")
}

/// The bytes of a Bech32 string, and its canonical form.
fn decoded(text: &str) -> Option<(Vec<u8>, String)> {
    let both = |hrp, bytes: &mut dyn Iterator<Item = u8>| {
        let bytes: Vec<u8> = bytes.collect();
        let text = bech32_encode(hrp, &bytes);
        (bytes, text)
    };
    bech32_decode(text, drop, |_| Ok(()), |hrp, mut bytes| Ok(both(hrp, &mut bytes))).ok()
}

/// Refuses a number that is no public key on Curve25519: one of small order, whose every multiple by a private key is
/// zero (all of them: RFC 7748, section 6.1, and cr.yp.to/ecdh.html), or one that is not below p.
fn x25519_fault(u: &[u8; 32]) -> Option<Error> {
    const OF_ORDER_8: [&[u8; 32]; 2] = [
        b"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00",
        b"\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57",
    ];
    // The highest bit is ignored.
    let top = u[31] & 0x7f;
    let all = |byte, last| top == last && u[1..31].iter().all(|one| *one == byte);
    // Zero and one; p - 1, p and p + 1, where p ends in 0xed.
    let small = all(0, 0) && u[0] < 2 || all(0xff, 0x7f) && (0xec..=0xee).contains(&u[0]);
    if small || OF_ORDER_8.iter().any(|point| u[..31] == point[..31] && top == point[31]) {
        return Some(open(SMALL));
    }
    (u[31] != top || all(0xff, 0x7f) && u[0] >= 0xed).then(strange)
}

/// The error for a string that looks like a private key where a public key belongs; `None` if it does not.
pub fn private_key(text: &str) -> Option<Error> {
    let upper = text.trim_start().to_ascii_uppercase();
    let marks = ["AGE-SECRET-KEY-", "AGE-PLUGIN-", "-----BEGIN"];
    (marks.iter().any(|mark| upper.starts_with(mark)) || upper.contains("PRIVATE KEY")).then(|| {
        Error::usage("this looks like a private key; only public keys belong here")
            .help("give its public half: the .pub file beside an SSH key, or what `age-keygen -y FILE` prints; if the private key was ever in the repository, treat it as leaked and make a new one")
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
        assert!(!format!("{error:?}{:?}", error.advice()).contains(secret.expose_secret().get(16..).unwrap()));
    }

    /// An age recipient made of any 32 bytes.
    fn age1(u: [u8; 32]) -> String {
        let mut hrp = None;
        let any = age::x25519::Identity::generate().to_public().to_string();
        bech32_decode(
            &any,
            drop,
            |_| Ok(()),
            |prefix, _| {
                hrp = Some(prefix);
                Ok(())
            },
        )
        .unwrap();
        bech32_encode(hrp.unwrap(), &u)
    }

    /// An ssh-ed25519 key made of any 32 bytes.
    fn ed25519(y: [u8; 32]) -> String {
        let wire = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &y].concat();
        format!("ssh-ed25519 {}", BASE64_STANDARD.encode(wire))
    }

    #[test]
    fn what_everybody_can_open_is_refused_in_every_writing() {
        // Every encoding of a point of small order, on either curve, as a library that multiplies sees it.
        let mut open = 0;
        let order_8 = [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        ];
        let mut points: Vec<[u8; 32]> = order_8
            .iter()
            .map(|hex| std::array::from_fn(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2).unwrap(), 16).unwrap()))
            .collect();
        for (lowest, rest, last) in (0..=255u8).map(|low| (low, 0, 0)).chain((0..=255).map(|low| (low, 0xff, 0x7f))) {
            let mut point = [rest; 32];
            (point[0], point[31]) = (lowest, last);
            points.push(point);
        }
        for mut point in points {
            for sign in [0, 0x80] {
                point[31] ^= sign;
                let theirs = x25519_dalek::PublicKey::from(point);
                let is_open = !x25519_dalek::StaticSecret::from([7; 32]).diffie_hellman(&theirs).was_contributory();
                let ours = Recipient::parse(&age1(point));
                let refused = |ours: &Result<Recipient>| {
                    ours.as_ref().is_err_and(|error| error.message().contains("everybody can open"))
                };
                assert_eq!(refused(&ours), is_open, "{point:02x?}");
                open += usize::from(is_open);
                // The only valid encoding: below p, without the highest bit.
                let p_ends = point[0] < 0xed || point[1..31] != [0xff; 30] || point[31] & 0x7f != 0x7f;
                assert_eq!(ours.is_ok(), !is_open && point[31] < 0x80 && p_ends, "{point:02x?}");
                let Ok(age::ssh::Recipient::SshEd25519(_, on)) = ed25519(point).parse() else {
                    assert!(Recipient::parse(&ed25519(point)).is_err());
                    continue;
                };
                let ours = Recipient::parse(&ed25519(point));
                let shared = x25519_dalek::PublicKey::from(on.to_montgomery().to_bytes());
                let shared = x25519_dalek::StaticSecret::from([7; 32]).diffie_hellman(&shared);
                assert_eq!(refused(&ours), !shared.was_contributory(), "{point:02x?}");
                assert_eq!(ours.is_ok(), shared.was_contributory() && on.compress().0 == point, "{point:02x?}");
                open += usize::from(!shared.was_contributory());
            }
        }
        // 0, 1, p - 1, p, p + 1 and two of order 8 as u, each with and without the highest bit; as y: 1 and -1, 0 and
        // four of order 8 with either sign, and the additional encodings from p and p + 1.
        assert_eq!(open, 14 + 14);
    }

    #[test]
    fn a_key_has_one_writing() {
        let pq = format!("age1tagpq1{}", "q".repeat(2000));
        for bad in [pq.as_str(), "ssh-rsa AAAAB3NzaC1yc2EAAAABAA==", "ssh-rsa AAAAB3NzaC1yc2EAAAACAAA="] {
            assert!(Recipient::parse(bad).is_err(), "{bad}");
        }
        let made = age::x25519::Identity::generate().to_public().to_string();
        let (_, again) = decoded(&made).unwrap();
        assert_eq!(again, made);
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
            assert!(error.advice().is_some(), "{bad:?}: {error:?}");
        }
    }
}
