//! New random values in the form that their consumer expects, with the public half of key pairs.

use base64::prelude::{BASE64_STANDARD, Engine};
use zeroize::Zeroizing;

use crate::adapters::age::identity_file;
use crate::adapters::fs::files;
use crate::domain::policy::generate::Generate;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Result};

pub struct Generated {
    pub value: Plaintext,
    /// A single line.
    pub public: Option<String>,
}

/// Generates a new value; as `KEY=value` for an `env:KEY` shape.
pub fn generate(how: Generate, shape: &Shape, comment: &str) -> Result<Generated> {
    let plain = |value| Ok(Generated { value, public: None });
    let made = match how {
        Generate::Password { length } => plain(password(length as usize)?),
        Generate::Hex { bytes } => {
            let raw = random(bytes as usize)?;
            let mut text = Vec::with_capacity(raw.len() * 2);
            for byte in raw.iter() {
                text.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
            }
            plain(Plaintext::take(text))
        }
        Generate::Base64 { bytes } => plain(encoded(&random(bytes as usize)?)),
        Generate::Wireguard => {
            let mut scalar = random(32)?;
            // Clamped before it is encoded, like `wg genkey`; RFC 7748 section 5.
            scalar[0] &= 0b1111_1000;
            scalar[31] = (scalar[31] & 0b0111_1111) | 0b0100_0000;
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(&scalar);
            let public = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*key));
            Ok(Generated { value: encoded(&scalar), public: Some(BASE64_STANDARD.encode(public.as_bytes())) })
        }
        Generate::SshEd25519 => {
            let mut seed = Zeroizing::new([0; 32]);
            files::random(&mut *seed)?;
            let pair = ssh_key::private::Ed25519Keypair::from_seed(&seed);
            let failed = |error: ssh_key::Error| Error::failed("cannot write the SSH key").because(error);
            let key = ssh_key::PrivateKey::new(pair.into(), comment).map_err(failed)?;
            let text = key.to_openssh(ssh_key::LineEnding::LF).map_err(failed)?;
            let public = key.public_key().to_openssh().map_err(failed)?;
            Ok(Generated { value: Plaintext::concat(&[text.as_bytes()]), public: Some(public) })
        }
        Generate::Age => {
            let (value, recipient) = identity_file::generate();
            Ok(Generated { value, public: Some(recipient.canonical().to_owned()) })
        }
    }?;
    Ok(match shape.variable() {
        Some(key) => {
            let value = made.value.expose(|bytes| Plaintext::concat(&[key.as_bytes(), b"=", bytes, b"\n"]));
            Generated { value, ..made }
        }
        None => made,
    })
}

/// Unbiased letters and digits: bytes from 248 on are discarded, since 256 is not a multiple of 62.
fn password(length: usize) -> Result<Plaintext> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = Vec::with_capacity(length);
    while text.len() < length {
        let drawn = random(64)?;
        let letters = drawn.iter().filter(|byte| **byte < 248).map(|byte| LETTERS[usize::from(byte % 62)]);
        text.extend(letters.take(length - text.len()));
    }
    Ok(Plaintext::take(text))
}

fn encoded(bytes: &[u8]) -> Plaintext {
    Plaintext::take(BASE64_STANDARD.encode(bytes).into_bytes())
}

fn random(count: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; count]);
    files::random(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(how: Generate, shape: &Shape) -> (Vec<u8>, Option<String>) {
        let made = generate(how, shape, "x@y").unwrap();
        (made.value.expose(<[u8]>::to_vec), made.public)
    }

    #[test]
    fn values_have_the_form_that_was_asked_for() {
        let (value, _) = made(Generate::Password { length: 40 }, &Shape::Token);
        assert!(value.len() == 40 && value.iter().all(u8::is_ascii_alphanumeric));
        let (value, _) = made(Generate::Hex { bytes: 16 }, &Shape::Token);
        assert!(value.len() == 32 && value.iter().all(u8::is_ascii_hexdigit));
        let (value, _) = made(Generate::Password { length: 8 }, &Shape::Env("A".into()));
        assert!(value.starts_with(b"A=") && value.ends_with(b"\n") && Shape::Env("A".into()).check(&value).is_ok());
        assert_ne!(
            made(Generate::Base64 { bytes: 32 }, &Shape::Raw).0,
            made(Generate::Base64 { bytes: 32 }, &Shape::Raw).0
        );
    }

    #[test]
    fn key_pairs_fit_together() {
        let (value, public) = made(Generate::SshEd25519, &Shape::SshKey);
        assert_eq!(Shape::SshKey.check(&value), Ok(()));
        let key = age::ssh::Identity::from_buffer(&value[..], None).unwrap();
        let recipient = crate::domain::secret::recipient::Recipient::of_ssh(&key).unwrap();
        assert!(public.unwrap().starts_with(recipient.canonical()));
        let (value, public) = made(Generate::Age, &Shape::Raw);
        assert!(String::from_utf8(value).unwrap().contains(&public.unwrap()));
        let (value, public) = made(Generate::Wireguard, &Shape::Token);
        assert_eq!((value.len(), public.unwrap().len()), (44, 44));
    }
}
