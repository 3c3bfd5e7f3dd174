//! Path literals whose name is that of a key: what the file holds decides. A name alone says nothing of an age or sops file,
//! a public key, or a handle to a key in hardware.

use std::fs::File;
use std::io::Read;

use crate::adapters::git::Git;
use crate::adapters::git::objects::{self, Answer};
use crate::commands::scan::scanner::{Out, Raw};
use crate::domain::scan::{Engine, Place, Subject};

/// As much of a file is looked at. Ciphertext is told by its beginning, and keys are shorter.
const MOST: u64 = 64 << 10;

/// Takes away the findings whose file was looked at and is none. One that cannot be read stays.
pub fn settle(git: &Git, engine: &Engine, out: &mut Out) {
    out.raw.retain(|raw| !beginning(git, raw).is_some_and(|bytes| is_harmless(engine, &bytes)));
}

/// The beginning of the file that a finding names, in the same work tree, index or commit.
fn beginning(git: &Git, raw: &Raw) -> Option<Vec<u8>> {
    let named = raw.hit.told.as_ref()?.named.as_ref().filter(|_| raw.member.is_none())?;
    let source = std::str::from_utf8(&raw.path).ok()?;
    let path = beside(source, named)?;
    let name = match &raw.place {
        Place::Tree => {
            let path = git.top.join(path);
            // No link, and nothing that opening could wait for.
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

/// A path literal's file, below the top as its source is; none for one outside.
fn beside(source: &str, literal: &str) -> Option<String> {
    let mut parts: Vec<&str> = source.split('/').collect();
    parts.pop();
    for part in literal.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (literal.starts_with('.') && !literal.contains(['\n', '\0'])).then(|| parts.join("/"))
}

/// Whether a file is ciphertext, public, or a handle to a key in hardware.
fn is_harmless(engine: &Engine, bytes: &[u8]) -> bool {
    let begins = |starts: &[&str]| starts.iter().any(|start| bytes.starts_with(start.as_bytes()));
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    if begins(&["age-encryption.org/v1\n", "-----BEGIN AGE ENCRYPTED FILE-----"]) {
        return true;
    }
    let sops = holds("ENC[AES256_GCM,") && holds("sops");
    let public = begins(&[
        "ssh-",
        "ecdsa-sha2-",
        "sk-ssh-",
        "sk-ecdsa-",
        "age1",
        "-----BEGIN PUBLIC KEY",
        "-----BEGIN CERTIFICATE",
    ]);
    let handle = begins(&["-----BEGIN OPENSSH PRIVATE KEY-----"]);
    (handle || (sops || public) && !holds("PRIVATE KEY")) && engine.whole(&Subject::nameless(), bytes).is_empty()
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
}
