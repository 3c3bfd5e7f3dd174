//! How a value is generated: kinds, names, sizes and descriptions. `adapters/age/generate.rs` does the work. The
//! parser, the schema, the command line and its help use these definitions.

use serde::{Deserialize, Serialize};

/// The allowed sizes.
pub const SIZES: std::ops::RangeInclusive<u32> = 8..=1024;
/// The default size.
const SIZE: u32 = 32;

/// Every kind: its name, with the default size, and its description.
pub const KINDS: [(&str, Generate, &str); 6] = [
    ("password", Generate::Password { length: SIZE }, "Letters and digits"),
    ("hex", Generate::Hex { bytes: SIZE }, "Random bytes in hexadecimal"),
    ("base64", Generate::Base64 { bytes: SIZE }, "Random bytes in base64"),
    ("wireguard", Generate::Wireguard, "A WireGuard private key"),
    ("ssh-ed25519", Generate::SshEd25519, "An OpenSSH ed25519 private key"),
    ("age", Generate::Age, "An age X25519 identity"),
];

/// How a value is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Generate {
    /// Letters and digits, `length` of them (8 to 1024).
    Password {
        /// How many characters.
        #[serde(default = "usual")]
        length: u32,
    },
    /// `bytes` random bytes in hexadecimal (8 to 1024).
    Hex {
        /// How many bytes.
        #[serde(default = "usual")]
        bytes: u32,
    },
    /// `bytes` random bytes in base64 (8 to 1024).
    Base64 {
        /// How many bytes.
        #[serde(default = "usual")]
        bytes: u32,
    },
    /// A WireGuard private key; its public key is written beside the sealed file, as `.pub`.
    Wireguard,
    /// An OpenSSH ed25519 private key; its public key is written beside the sealed file, as `.pub`.
    SshEd25519,
    /// An age X25519 identity; its recipient is written beside the sealed file, as `.pub`.
    Age,
}

fn usual() -> u32 {
    SIZE
}

impl Generate {
    /// The kind with this name, at its default size.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(known, _, _)| *known == name).map(|(_, kind, _)| *kind)
    }

    /// Its size and the name of that field in recipients.toml, if the size can be chosen.
    pub fn size(&mut self) -> Option<(&'static str, &mut u32)> {
        match self {
            Generate::Password { length } => Some(("length", length)),
            Generate::Hex { bytes } | Generate::Base64 { bytes } => Some(("bytes", bytes)),
            Generate::Wireguard | Generate::SshEd25519 | Generate::Age => None,
        }
    }

    pub fn name(self) -> &'static str {
        let same = |kind: &Generate| std::mem::discriminant(kind) == std::mem::discriminant(&self);
        KINDS.iter().find(|(_, kind, _)| same(kind)).map_or("", |(name, _, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_the_table_under_its_name() {
        let schema = serde_json::to_value(schemars::schema_for!(Generate)).unwrap();
        assert_eq!(schema["oneOf"].as_array().unwrap().len(), KINDS.len());
        for (name, mut kind, _) in KINDS {
            let mut written = serde_json::json!({ "kind": name });
            if let Some((field, size)) = kind.size() {
                written[field] = (*size).into();
            }
            assert_eq!(serde_json::to_value(kind).unwrap(), written);
            assert_eq!((Generate::named(name), kind.name()), (Some(kind), name));
        }
    }
}
