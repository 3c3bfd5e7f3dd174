//! Templates: files that contain values of secrets. The text comes with the manifest and is not secret. The values are
//! inserted on the host in one pass over the text, so that a placeholder inside a value is not replaced.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::manifest::install_status::hex;
use crate::domain::manifest::placement::{DeliveredFile, Said};
use crate::domain::name::SecretName;
use crate::error::Error;

/// The start of a placeholder; the name of the secret and a `>` follow.
const PLACEHOLDER: &str = "<sealift:";

/// One template of a manifest, not checked yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateEntry {
    /// Its name. Secrets and templates share one namespace.
    pub name: String,
    /// The text, with placeholders for values.
    pub content: String,
    pub owner: String,
    pub group: String,
    /// Four octal digits.
    pub mode: String,
    pub path: String,
    /// Units restarted if the delivered bytes changed.
    pub restart: Vec<String>,
    pub reload: Vec<String>,
}

/// One template to install.
#[derive(Clone, Debug)]
pub struct Template {
    pub target: DeliveredFile,
    /// Its parts in order.
    pub pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Literal text.
    Text(String),
    /// The value of a secret.
    Value(SecretName),
}

impl TemplateEntry {
    pub(super) fn check(&self, faults: &mut Vec<Error>) -> Option<Template> {
        let said = Said {
            name: &self.name,
            owner: &self.owner,
            group: &self.group,
            mode: &self.mode,
            path: &self.path,
            restart: &self.restart,
            reload: &self.reload,
            needed_for_users: false,
        };
        let target = said.check(faults);
        let pieces = pieces(&self.content);
        if pieces.is_none() {
            faults.push(
                Error::usage("content: a placeholder names no secret")
                    .help(format!("a placeholder is {PLACEHOLDER}NAME>, as config.sealift.placeholder writes it")),
            );
        }
        Some(Template { target: target?, pieces: pieces? })
    }
}

impl Template {
    /// The secrets whose values it contains, in order and with repetitions.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(name) => Some(name),
            Piece::Text(_) => None,
        })
    }

    /// A digest of its sources: its text and the sealed files of its secrets. `None` if one of them is missing.
    pub fn source(&self, ciphertext: impl Fn(&SecretName) -> Option<String>) -> Option<String> {
        let mut digest = Sha256::new();
        for piece in &self.pieces {
            let (kind, part) = match piece {
                Piece::Text(text) => (b't', text.clone()),
                Piece::Value(name) => (b'v', format!("{name} {}", ciphertext(name)?)),
            };
            digest.update([kind]);
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Some(hex(&digest.finalize()))
    }
}

/// The parts of a text; `None` if a placeholder is not closed or does not contain a valid name.
fn pieces(content: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let text = |part: &str, pieces: &mut Vec<Piece>| {
        if !part.is_empty() {
            pieces.push(Piece::Text(part.to_owned()));
        }
    };
    let mut parts = content.split(PLACEHOLDER);
    text(parts.next().unwrap_or_default(), &mut pieces);
    for part in parts {
        let (name, rest) = part.split_once('>')?;
        pieces.push(Piece::Value(name.parse().ok()?));
        text(rest, &mut pieces);
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Piece {
        Piece::Value(name.parse().unwrap())
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    #[test]
    fn a_text_is_taken_apart_once() {
        assert_eq!(pieces(""), Some(vec![]));
        assert_eq!(pieces("plain > text < here"), Some(vec![text("plain > text < here")]));
        assert_eq!(
            pieces("a=<sealift:x/y.z>\nb=<sealift:b><sealift:b>"),
            Some(vec![text("a="), value("x/y.z"), text("\nb="), value("b"), value("b")])
        );
        // What begins like a placeholder is either valid or a fault.
        for broken in
            ["<sealift:", "<sealift:a", "<sealift:>", "<sealift:../x>", "<sealift:a b>", "<sealift:<sealift:a>>"]
        {
            assert_eq!(pieces(broken), None, "{broken}");
        }
    }

    #[test]
    fn its_source_changes_with_text_and_ciphertext() {
        let target = Said {
            name: "t",
            owner: "root",
            group: "root",
            mode: "0400",
            path: "/run/sealift/t",
            restart: &[],
            reload: &[],
            needed_for_users: false,
        };
        let target = target.check(&mut Vec::new()).unwrap();
        let source = |content: &str, digest: &str| {
            let template = Template { target: target.clone(), pieces: pieces(content).unwrap() };
            template.source(|_| Some(digest.to_owned())).unwrap()
        };
        let one = source("a<sealift:x>b", "1");
        assert_eq!(one, source("a<sealift:x>b", "1"));
        for other in [source("a<sealift:x>b", "2"), source("ab<sealift:x>", "1"), source("a<sealift:y>b", "1")] {
            assert_ne!(one, other);
        }
    }
}
