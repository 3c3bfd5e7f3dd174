//! Path literals with the name of a key file: the content of the file decides. An age or sops file, a public key or a
//! handle to a hardware key is harmless, whatever its name.

use std::fs::File;
use std::io::Read;

use crate::adapters::git::Git;
use crate::adapters::git::objects::{self, Answer};
use crate::commands::scan::scanner::{Out, Raw};
use crate::domain::foreign::resolved;
use crate::domain::scan::{Engine, Place, Subject};

/// How much of a file is read. Ciphertext is recognised by its beginning, and keys are shorter.
const MOST: u64 = 64 << 10;

/// Removes findings whose file is harmless. A finding stays if its file cannot be read.
pub fn settle(git: &Git, engine: &Engine, out: &mut Out) {
    out.raw.retain(|raw| !beginning(git, raw).is_some_and(|bytes| is_harmless(engine, &bytes)));
}

/// Returns the beginning of the file that a finding names, from the same work tree, index or commit.
fn beginning(git: &Git, raw: &Raw) -> Option<Vec<u8>> {
    let named = raw.hit.wording.as_ref()?.named.as_ref().filter(|_| raw.member.is_none())?;
    let source = std::str::from_utf8(&raw.path).ok()?;
    let path = beside(source, named)?;
    let name = match &raw.place {
        Place::Tree => {
            let path = git.top.join(path);
            // Only regular files: no symlink, and nothing on which opening could block.
            let is_file = path.symlink_metadata().is_ok_and(|data| data.is_file());
            return is_file.then(|| start_of(File::open(path).ok()?))?;
        }
        Place::Index => format!(":{path}\n"),
        Place::History { commit } => format!("{commit}:{path}\n"),
        Place::Store => return None,
    };
    let mut bytes = None;
    let told = |answer: Answer<'_>| {
        if let Answer::Blob(_, content) = answer {
            bytes = start_of(content);
        }
        Ok(())
    };
    objects::each(git.unaltered(), objects::names(&[name.trim_end().to_owned()]), told).ok()?;
    bytes
}

fn start_of(content: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Resolves a path literal relative to its source file. None if it leads out of the repository.
fn beside(source: &str, literal: &str) -> Option<String> {
    let folder = source.rsplit_once('/').map_or("", |(folder, _)| folder);
    resolved(folder, literal).filter(|_| literal.starts_with('.') && !literal.contains(['\n', '\0']))
}

/// The prefixes of public key lines.
const PUBLIC: [&str; 5] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-", "age1"];

/// The labels of PEM blocks that are public or ciphertext.
const BLOCKS: [&str; 7] = [
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "CERTIFICATE",
    "AGE ENCRYPTED FILE",
    "PGP PUBLIC KEY BLOCK",
    "PGP MESSAGE",
    "OPENSSH PRIVATE KEY",
];

/// Whether a file is ciphertext, public, or a handle to a hardware key. All rules must find nothing in it too: the rule
/// for OpenSSH keys tells a handle from a private key.
fn is_harmless(engine: &Engine, bytes: &[u8]) -> bool {
    if bytes.starts_with(b"age-encryption.org/v1\n") {
        return true;
    }
    // A file of this size may continue after what was read.
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| (text.len() as u64) < MOST) else { return false };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    let Some(first) = lines.peek() else { return false };
    let sops = text.contains("ENC[AES256_GCM,") && text.contains("sops");
    let block = first.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
    let block = block.is_some_and(|kind| BLOCKS.contains(&kind)) || *first == "---- BEGIN SSH2 PUBLIC KEY ----";
    // A private block may follow the first one.
    let private = text.matches("PRIVATE KEY").count() > 2 * usize::from(first.ends_with("OPENSSH PRIVATE KEY-----"));
    let public = lines.all(|line| PUBLIC.iter().any(|start| line.starts_with(start)));
    ((block || sops) && !private || public) && engine.whole(&Subject::nameless(), bytes).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_read_from_the_folder_of_its_source() {
        let path = |literal| beside("hosts/nixos/default.nix", literal);
        assert_eq!(path("./a-key").as_deref(), Some("hosts/nixos/a-key"));
        assert_eq!(path("../../secrets/a-key").as_deref(), Some("secrets/a-key"));
        assert_eq!((path("../../../a-key"), path("/etc/a-key")), (None, None));
    }
    #[test]
    fn what_a_file_holds_decides_and_its_first_line_alone_does_not() {
        let engine = Engine::new(None);
        let block = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
        let harmless = |text: &str| is_harmless(&engine, text.as_bytes());
        for kind in ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE", "PGP PUBLIC KEY BLOCK", "AGE ENCRYPTED FILE"] {
            assert!(harmless(&format!("# of jay\n\n{}", block(kind))), "{kind}");
            let private = block(&["PRIVATE", "KEY"].join(" "));
            assert!(!harmless(&format!("{}{private}", block(kind))), "{kind}");
        }
        assert!(harmless("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n"));
        assert!(harmless("# jay\nssh-ed25519 AAAA jay\r\n\nage1qqqq\n"));
        for text in ["", "# a comment\n", "0123\n", "ssh-ed25519 AAAA jay\n0123\n"] {
            assert!(!harmless(text), "{text}");
        }
        assert!(!harmless(&"ssh-ed25519 AAAA jay\n".repeat(4000)));
    }
}
