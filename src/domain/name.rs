//! Names that are valid by construction: of secrets, sealed files, hosts, admins, tags and users. Each has a limited
//! alphabet, so that no name can be an option, a path out of its folder, or an escape sequence, wherever it is used.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strsim::osa_distance;

/// Why a word is not a name. Holds no part of the word: it may be a pasted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError {
    what: &'static str,
    rule: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = if self.what.starts_with('a') { "an" } else { "a" };
        write!(f, "not {article} {} name: {}", self.what, self.rule)
    }
}

impl std::error::Error for NameError {}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Option<&'static str> = $check;
                match check(text) {
                    None => Ok(Self(text.to_owned())),
                    Some(rule) => Err(NameError { what: $what, rule }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// The name of a secret: parts of `[a-z0-9][a-z0-9._-]*` joined by `/`, at most 128 bytes.
    SecretName, "secret", path_fault
);
name!(
    /// The name of a sealed file: its path under `secrets/` without `.age`. It is the secret's own name, or
    /// `<secret>/<host>` for a secret with a value for each host. The seal in the file contains it as NAME.
    FileName, "file", path_fault
);
impl FileName {
    /// The name itself, if the user gave the path of the file instead.
    pub fn without_place(&self) -> Option<&str> {
        let inside = self.0.strip_prefix("secrets/").unwrap_or(&self.0);
        let bare = inside.strip_suffix(".age").unwrap_or(inside);
        (bare != self.0 && !bare.is_empty()).then_some(bare)
    }
}

name!(
    /// The name of a host: a DNS label in lower case, 1 to 63 of `[a-z0-9-]`, no `-` at either end.
    HostName, "host", label_fault
);
name!(
    /// The name of a machine's system in a flake, which the machine may also use as its host name: an attribute of
    /// `nixosConfigurations` and a folder of `hosts/`. `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 253 bytes: nothing that
    /// ends a Nix string or is special in one.
    Configuration, "configuration", configuration_fault
);
name!(
    /// A host as the user names it: by its name, or by its configuration.
    HostWord, "host", |text| configuration_fault(text).and_then(|_| label_fault(text))
);
name!(
    /// The name of an admin: `[a-z0-9][a-z0-9._-]*`, at most 64 bytes.
    AdminName, "admin", word_fault
);
name!(
    /// A tag of hosts: `[a-z0-9][a-z0-9._-]*`, at most 64 bytes.
    Tag, "tag", word_fault
);
name!(
    /// A user or group of a host, or its number: `[a-z_][a-z0-9_.-]*` or digits, at most 32 bytes.
    UnixName, "user or group", unix_fault
);
name!(
    /// A systemd unit with its suffix, such as `nginx.service`.
    UnitName, "unit", unit_fault
);

fn path_fault(text: &str) -> Option<&'static str> {
    if text.len() > 128 {
        return Some("it is longer than 128 bytes");
    }
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
        return Some("`/` stands only between two parts");
    }
    if text.split('/').all(is_word) { None } else { Some("each part is [a-z0-9][a-z0-9._-]*, joined by `/`") }
}

fn label_fault(text: &str) -> Option<&'static str> {
    if text.contains([' ', ',']) {
        return Some(
            "it has no blanks and commas in it; several names are separated by commas, or each a string of a list",
        );
    }
    if text.contains('@') {
        return Some("it is a name of your choice; where the host is, USER@HOST, is its `address`");
    }
    if text.contains('.') {
        return Some(
            "it is one DNS label, without a domain: where the host is, is its `address`, and its name in the flake its \
             `configuration`",
        );
    }
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = (1..=63).contains(&text.len()) && text.bytes().all(inside);
    (!fits || text.starts_with('-') || text.ends_with('-'))
        .then_some(
            "it is a DNS label: 1 to 63 of [a-z0-9-], no `-` at either end; where the flake has another name, such as Web_1, \
             that is its `configuration`",
        )
}

fn configuration_fault(text: &str) -> Option<&'static str> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let fits = text.len() <= 253 && text.bytes().all(inside) && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    (!fits).then_some("it is [A-Za-z0-9][A-Za-z0-9._-]*, at most 253 bytes, as in `nixosConfigurations`")
}

fn word_fault(text: &str) -> Option<&'static str> {
    (text.len() > 64 || !is_word(text)).then_some("it is [a-z0-9][a-z0-9._-]*, at most 64 bytes")
}

fn unix_fault(text: &str) -> Option<&'static str> {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let word = text.bytes().enumerate().all(|(at, b)| match b {
        b'a'..=b'z' | b'_' => true,
        b'0'..=b'9' | b'-' | b'.' => at > 0,
        _ => false,
    });
    (text.is_empty() || text.len() > 32 || !(number || word)).then_some("it is [a-z_][a-z0-9_.-]* or a number")
}

fn unit_fault(text: &str) -> Option<&'static str> {
    const SUFFIXES: [&str; 6] = [".service", ".socket", ".target", ".timer", ".path", ".mount"];
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
    let named = SUFFIXES.iter().any(|suffix| text.len() > suffix.len() && text.ends_with(suffix));
    (!fits || !named || text.len() > 255 || text.starts_with(['-', '.']))
        .then_some("it is a systemd unit with its suffix, such as nginx.service")
}

fn is_word(part: &str) -> bool {
    part.bytes().enumerate().all(|(at, b)| match b {
        b'a'..=b'z' | b'0'..=b'9' => true,
        b'.' | b'_' | b'-' => at > 0,
        _ => false,
    }) && !part.is_empty()
}

impl SecretName {
    /// The sealed file of a secret with one value for all hosts.
    pub fn file(&self) -> FileName {
        FileName(self.0.clone())
    }

    /// The sealed file of one host's own value.
    pub fn file_of(&self, host: &HostName) -> FileName {
        FileName(format!("{}/{host}", self.0))
    }
}

impl Configuration {
    /// The host name of the machine, which has no domain.
    pub fn host_name(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }

    /// The host name derived from it: in lower case, with `-` for all other characters.
    pub fn label(&self) -> Option<HostName> {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let label: String = self.0.chars().map(plain).collect();
        label.trim_matches('-').parse().ok()
    }
}

impl From<&HostName> for Configuration {
    fn from(host: &HostName) -> Self {
        Self(host.0.clone())
    }
}

impl From<&HostWord> for Configuration {
    fn from(word: &HostWord) -> Self {
        Self(word.0.clone())
    }
}

impl FileName {
    /// The path of the file, from the top of the fleet.
    pub fn path(&self) -> String {
        format!("secrets/{}.age", self.0)
    }

    /// The name of the file at this path under `secrets/`, if it ends in `.age` and is valid.
    pub fn from_path(under_secrets: &str) -> Option<Self> {
        under_secrets.strip_suffix(".age")?.parse().ok()
    }
}

/// The known word nearest to a misspelled one, if any is near enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (osa_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names_have_one_alphabet() {
        for good in ["a", "gitea-runner-token", "ssh-keys/jay-signing", "a.b_c-d/0", &"x".repeat(128)] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
        let long = "x".repeat(129);
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "../x",
            "a/../b",
            ".git/x",
            "-rf",
            "A",
            "a b",
            "a\nb",
            "a\u{1b}[0m",
            "$(x)",
            "a;b",
            "a'b",
            "ä",
            "a/-b",
            "a/.b",
            &long,
        ] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn host_names_are_dns_labels() {
        for good in ["nixos", "framework-13", "a", "0"] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
        }
        for bad in ["", "-oProxyCommand=x", "a-", "a.b", "Nixos", "a_b", "../x", &"x".repeat(64)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_configuration_is_one_attribute_and_never_an_option_a_path_or_nix() {
        for (good, label, host_name) in [
            ("web", Some("web"), "web"),
            ("Web_1", Some("web-1"), "Web_1"),
            ("web.example.org", Some("web-example-org"), "web"),
            ("MyHost", Some("myhost"), "MyHost"),
            ("my_host_", Some("my-host"), "my_host_"),
            ("0", Some("0"), "0"),
            (&"x".repeat(253), None, &"x".repeat(253)),
        ] {
            let one: Configuration = good.parse().unwrap();
            assert_eq!(one.label().as_ref().map(HostName::as_str), label, "{good}");
            assert_eq!(one.host_name(), host_name);
            assert!(good.parse::<HostWord>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "--impure",
            ".",
            "..",
            ".git",
            "_web",
            "a/b",
            "../x",
            "a\"b",
            "a\".\"b",
            "${x}",
            "a$b",
            "a\\",
            "a b",
            "a#b",
            "a^b",
            "a?b",
            "a%22b",
            "a@b",
            "a:b",
            "a'b",
            "a;b",
            "a\nb",
            "a\r",
            "a\0",
            "a\u{1b}[0m",
            "ä",
            "а",
            &"x".repeat(254),
        ] {
            assert!(bad.parse::<Configuration>().is_err(), "{bad:?}");
            assert!(bad.parse::<HostWord>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn units_and_users_have_theirs() {
        for good in
            ["nginx.service", "gitea-runner-main.service", "dev-sda.mount", "user@1000.service", r"a\x2db.service"]
        {
            assert!(good.parse::<UnitName>().is_ok(), "{good}");
        }
        for bad in ["nginx", ".service", "--now.service", "a b.service", "a\n.service", "../x.service"] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad:?}");
        }
        for good in ["root", "_x", "1000", "gitea-runner"] {
            assert!(good.parse::<UnixName>().is_ok(), "{good}");
        }
        for bad in ["", "-x", "Root", "a:b", "1a", "a/b"] {
            assert!(bad.parse::<UnixName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_nearest_word_is_suggested_only_when_near() {
        let known = ["hosts", "owner", "restart", "needed_for_users"];
        assert_eq!(nearest("host", known), Some("hosts"));
        assert_eq!(nearest("onwer", known), Some("owner"));
        assert_eq!(nearest("zzzzz", known), None);
    }
}
