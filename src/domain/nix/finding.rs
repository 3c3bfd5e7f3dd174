//! Findings in Nix source: the rules, the type of a finding, and what a name reveals about its value.

use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};

use crate::domain::nix::options::Row;
use crate::domain::nix::syntax;
use crate::domain::rule_info::{About, Weight};

/// A kind of finding. The identifier is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NixRule {
    /// A literal for an option with a counterpart that reads it from a file.
    InlineSecret,
    /// A password hash that everybody can use to guess the password.
    PasswordHash,
    /// A literal for an option that is not in the table, but whose name indicates a secret.
    SecretOption,
    /// The content of a secret's file, read during evaluation.
    ReadSecret,
    /// A path literal that copies a private key into the store.
    KeyPath,
    /// A token in the environment of a unit.
    UnitEnvironment,
    /// A private key that home-manager or /etc installs from the store.
    KeyInPlace,
}

/// The description of each rule, in the order of `NixRule`.
static ABOUT: [About; 7] = [
    About {
        id: "nix-inline-secret",
        what: "a literal for an option that can read a file",
        why: "the literal is in the Nix store, which everybody on the machine can read",
        help: "run `sealift adopt FILE:LINE`: the value is sealed, and the option reads it from a file",
        weight: Weight::High,
    },
    About {
        id: "nix-password-hash",
        what: "a literal password hash",
        why: "everybody on the machine can read the hash in the store and guess from it",
        help: "run `sealift adopt FILE:LINE`: the value is sealed, and the option reads it from a file",
        weight: Weight::Medium,
    },
    About {
        id: "nix-secret-option",
        what: "a literal for an option whose name says that it is a secret",
        why: "it is in the Nix store, which everybody on the machine can read",
        help: "look whether the option has a twin that reads a file, and seal the value: `sealift seal NAME`",
        weight: Weight::Medium,
    },
    About {
        id: "nix-read-secret",
        what: "a secret's file that is read while Nix evaluates",
        why: "what Nix reads ends in its store",
        help: "give the option the path: `config.sealift.secrets.NAME.path`",
        weight: Weight::High,
    },
    About {
        id: "nix-key-path",
        what: "a path literal of a private key",
        why: "Nix copies what a path literal names into its store",
        help: "name it as text, or seal it: `sealift seal NAME --shape ssh-key --from-file FILE`",
        weight: Weight::High,
    },
    About {
        id: "nix-unit-environment",
        what: "a secret in a unit's environment",
        why: "it is in the unit's file in the store, and in `systemctl show`",
        help: "seal it with the shape `env:NAME`, and name it as an EnvironmentFile",
        weight: Weight::High,
    },
    About {
        id: "nix-key-in-place",
        what: "a private key that is put in place from the store",
        why: "it can be read in the store by everybody",
        help: "seal it, and say where it goes by `path` in recipients.toml",
        weight: Weight::High,
    },
];

impl NixRule {
    pub const ALL: [NixRule; 7] = [
        NixRule::InlineSecret,
        NixRule::PasswordHash,
        NixRule::SecretOption,
        NixRule::ReadSecret,
        NixRule::KeyPath,
        NixRule::UnitEnvironment,
        NixRule::KeyInPlace,
    ];

    pub fn about(self) -> &'static About {
        match self {
            NixRule::InlineSecret => &ABOUT[0],
            NixRule::PasswordHash => &ABOUT[1],
            NixRule::SecretOption => &ABOUT[2],
            NixRule::ReadSecret => &ABOUT[3],
            NixRule::KeyPath => &ABOUT[4],
            NixRule::UnitEnvironment => &ABOUT[5],
            NixRule::KeyInPlace => &ABOUT[6],
        }
    }

    pub fn id(self) -> &'static str {
        self.about().id
    }
}

impl fmt::Display for NixRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for NixRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// One finding in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NixFinding {
    pub rule: NixRule,
    /// The line on which the value, or the expression for it, begins; from 1.
    pub line: usize,
    /// The byte range of the value: the literal with its quotes, or the path.
    pub span: Range<usize>,
    /// The range of the call that turns the literal into a file, such as `pkgs.writeText`: the option already takes a
    /// path.
    pub call: Option<Range<usize>>,
    /// The range of the entry `name = …;`, or the `inherit`, that sets the option. It contains `span`, unless the
    /// literal comes from a `let`.
    pub site: Range<usize>,
    /// The option path, as far as it is in this file; `*` for a computed name.
    pub option: Vec<String>,
    /// The option's row in the table.
    pub known: Option<&'static Row>,
    /// The names that match the stars of the known option.
    pub stars: Vec<String>,
}

impl NixFinding {
    pub fn option(&self) -> String {
        self.option.join(".")
    }

    /// What was found, in one line.
    pub fn what(&self) -> String {
        let option = self.option();
        match self.rule {
            _ if self.call.is_some() => format!("{option} is given a file made from a literal"),
            NixRule::InlineSecret | NixRule::SecretOption => format!("{option} is given a literal"),
            NixRule::PasswordHash => format!("{option} is given a literal hash"),
            NixRule::ReadSecret => "a secret's file is read while Nix evaluates".to_owned(),
            NixRule::KeyPath => "a path literal names what looks like a private key".to_owned(),
            NixRule::UnitEnvironment => format!("{option} sets a secret as a literal"),
            NixRule::KeyInPlace => format!("{option} puts a private key in place"),
        }
    }

    /// What to do about it. `place` is the argument for `adopt`: `FILE:LINE`, quoted for a shell.
    pub fn advice(&self, place: &str) -> String {
        if let Some(twin) = self.twin() {
            return format!(
                "run: sealift adopt {place} (it seals the value, and {twin} reads it); then give it a new value"
            );
        }
        match (self.rule, self.known.and_then(|known| known.how.as_deref())) {
            (_, Some(how)) => how.to_owned(),
            (NixRule::SecretOption, None) => {
                format!("if the module has an option that takes a file, run: sealift adopt {place} --twin OPTION")
            }
            (NixRule::UnitEnvironment, None) => self.out_of_the_environment(),
            (NixRule::KeyInPlace, None) if self.option.iter().any(|word| word == "home" || word == "xdg") => {
                "seal the file: `sealift seal NAME --from-file FILE --shred --owner USER`; then take the entry away, and \
                 say where it goes by `path` in recipients.toml"
                    .to_owned()
            }
            (NixRule::ReadSecret | NixRule::KeyPath | NixRule::KeyInPlace | NixRule::InlineSecret | NixRule::PasswordHash, None) => {
                "seal the file: `sealift seal NAME --from-file FILE --shred`, and use the delivered path, as a string"
                    .to_owned()
            }
        }
    }

    /// What to write for a variable that is set for a unit, or for all users.
    fn out_of_the_environment(&self) -> String {
        let at = |word: &str| self.option.iter().position(|other| other == word);
        match (at("services").filter(|at| *at > 0), at("Environment")) {
            (Some(services), Some(_)) => {
                let unit = self.option.get(services + 1).map_or("NAME", String::as_str);
                format!(
                    "seal it with the shape env:VARIABLE, take `VARIABLE=…` out of Environment, and set \
                     systemd.services.{unit}.serviceConfig.EnvironmentFile = config.sealift.secrets.SECRET.path"
                )
            }
            _ => {
                "everybody who logs in has it: take it away, seal it as a token, and let what needs it read the file: \
                  `$(cat /run/sealift/SECRET)`"
                    .to_owned()
            }
        }
    }

    /// The option that `adopt` can write: only its last name if it is in the same set as this one.
    pub fn twin(&self) -> Option<String> {
        let target = self.target()?;
        let (last, folder) = target.split_last()?;
        let beside = self.option.split_last().is_some_and(|(_, here)| here == folder) || target == self.option;
        let known = self.known.and_then(|known| known.file.as_deref()).map_or(1, |file| file.split('.').count());
        Some(if beside { last.clone() } else { target.get(target.len() - known..)?.join(".") })
    }

    /// The full path of that option, including what precedes it in this file.
    pub fn target(&self) -> Option<Vec<String>> {
        if self.call.is_some() {
            return Some(self.option.clone());
        }
        let known = self.known?;
        let twin = known.twin(&self.stars)?;
        let pattern = known.option.as_deref()?;
        let before = self.option.len().checked_sub(pattern.split('.').count() + self.elements())?;
        Some([self.option.get(..before)?, &twin].concat())
    }

    /// How many lists inside the option's value contain the literal.
    pub fn elements(&self) -> usize {
        let computed = self.known.and_then(|known| known.option.as_deref()).is_some_and(|option| option.ends_with('*'));
        usize::from(!computed && self.option.last().is_some_and(|word| word == syntax::ANY))
    }
}

/// Whether a file name is that of a private key.
pub fn names_a_key(path: &str) -> bool {
    let name = last_of(path);
    let (stem, end) = name.rsplit_once('.').unwrap_or((&name, ""));
    let kinds = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];
    match end {
        "" => {
            // A file for a key in hardware is only a handle, useless without the device.
            !stem.ends_with("_sk")
                && !stem.ends_with("_sk_rk")
                && (kinds.contains(&stem)
                    || ["_key", "-key"].iter().any(|tail| stem.ends_with(tail))
                    || stem.starts_with("privkey")
                    || stem.starts_with("id_ed25519_")
                    || stem.starts_with("id_rsa_"))
        }
        "key" | "ppk" | "p12" | "pfx" | "private" => true,
        "pem" => stem.contains("key") || stem.contains("priv"),
        "txt" => matches!(stem, "key" | "keys" | "identity" | "age-key" | "age-keys"),
        _ => false,
    }
}

/// Whether a file name is that of a file with a secret.
pub fn names_a_secret(path: &str) -> bool {
    if names_a_key(path) {
        return true;
    }
    let name = last_of(path);
    let plain = ["nix", "age", "pub", "gpg", "asc", "sops", "md", "crt", "cert", "sh", "py", "rs", "css", "js", "lua"];
    if name.rsplit_once('.').is_some_and(|(_, end)| plain.contains(&end)) {
        return false;
    }
    let runtime = ["/run/secrets", "/run/agenix", "/run/sealift", "/run/keys"];
    runtime.iter().any(|place| path.starts_with(place))
        || words_of(&name).any(|word| {
            ["password", "passwd", "passphrase", "secret", "token", "credentials", "psk", "apikey"].contains(&word)
        })
        || path.rsplit('/').skip(1).any(|folder| matches!(folder, "secrets" | "private"))
}

/// Whether a variable or an option with this name contains a secret itself: `GITEA_TOKEN`, `apiKey`, not `TOKEN_FILE`.
pub fn names_a_value(name: &str) -> bool {
    let mut spaced = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            spaced.push('_');
        }
        spaced.push(letter.to_ascii_lowercase());
        before = letter;
    }
    let words: Vec<&str> = words_of(&spaced).collect();
    // In etcd, this is the name of a cluster.
    if words.ends_with(&["cluster", "token"]) {
        return false;
    }
    match words.as_slice() {
        [.., last]
            if ["password", "passwd", "passphrase", "secret", "token", "apikey", "psk", "pass"].contains(last) =>
        {
            true
        }
        [.., before, "key"] => {
            ["api", "secret", "private", "access", "auth", "encryption", "signing", "preshared", "master", "jwt"]
                .contains(before)
        }
        _ => false,
    }
}

/// Whether an option with this name contains the path of a secret's file: `tokenFile`, `private_key_path`.
pub fn names_the_file_of_a_value(name: &str) -> bool {
    let stem = ["File", "Path", "_file", "_path", "-file"].iter().find_map(|tail| name.strip_suffix(tail));
    stem.is_some_and(names_a_value)
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

fn last_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase()
}
