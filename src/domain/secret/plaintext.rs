//! Plaintext: the only type that holds a value. No `Clone`, no content in `Debug`, wiped on drop, lent to closures, in
//! a buffer that never moves, so that no copy is left behind.

use std::fmt;
use std::io::{self, Read};

use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use zeroize::Zeroize;

/// A part of a composed value.
pub enum Part<'a> {
    /// Not secret.
    Text(&'a [u8]),
    /// Secret.
    Value(&'a Plaintext),
}

pub struct Plaintext(SecretBox<Vec<u8>>);

impl Plaintext {
    /// Reads to the end, at most `limit` bytes, into one buffer of `expected` bytes. A larger input is moved to a new
    /// buffer, and the old one is wiped.
    ///
    /// Fails with `InvalidData` if there are more than `limit` bytes, or with the error of `read`. Never returns a
    /// truncated value.
    pub fn read(mut from: impl Read, expected: usize, limit: usize) -> io::Result<Self> {
        let mut buffer = SecretBox::new(Box::new(Vec::with_capacity(expected.min(limit) + 1)));
        let bytes = buffer.expose_secret_mut();
        let mut chunk = zeroize::Zeroizing::new([0u8; 8192]);
        loop {
            let room = (bytes.capacity() - bytes.len()).min(chunk.len());
            if room == 0 {
                if bytes.len() > limit {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the value is larger than the limit"));
                }
                let mut larger = Vec::with_capacity((bytes.capacity() * 2).min(limit + 1));
                larger.extend_from_slice(bytes);
                bytes.zeroize();
                *bytes = larger;
                continue;
            }
            match from.read(&mut chunk[..room]) {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if bytes.len() > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the value is larger than the limit"));
        }
        Ok(Self(buffer))
    }

    /// Joins parts into one value.
    pub fn concat(parts: &[&[u8]]) -> Self {
        let mut whole = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| whole.extend_from_slice(part));
        Self(SecretBox::new(Box::new(whole)))
    }

    /// Joins parts into one value, in one buffer of the right size; `None` if it would be larger than `limit`.
    pub fn join(parts: &[Part<'_>], limit: usize) -> Option<Self> {
        let length = |part: &Part<'_>| match part {
            Part::Text(text) => text.len(),
            Part::Value(value) => value.len(),
        };
        let whole = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(length(part)));
        let mut joined = Vec::with_capacity(whole.filter(|whole| *whole <= limit)?);
        for part in parts {
            match part {
                Part::Text(text) => joined.extend_from_slice(text),
                Part::Value(value) => value.expose(|bytes| joined.extend_from_slice(bytes)),
            }
        }
        Some(Self::take(joined))
    }

    /// Takes over a buffer without copying it.
    pub fn take(bytes: Vec<u8>) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// Lends the bytes for one call.
    pub fn expose<T>(&self, use_bytes: impl FnOnce(&[u8]) -> T) -> T {
        use_bytes(self.0.expose_secret())
    }

    pub fn len(&self) -> usize {
        self.expose(<[u8]>::len)
    }

    /// Whether two values are the same bytes.
    pub fn same_as(&self, other: &Plaintext) -> bool {
        self.expose(|a| other.expose(|b| a == b))
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly_up_to_the_limit() {
        let bytes = vec![7u8; 100_000];
        for expected in [0, 1, 10, 100_000, 1 << 20] {
            let value = Plaintext::read(&bytes[..], expected, bytes.len()).unwrap();
            assert!(value.expose(|read| read == bytes), "{expected}");
        }
        assert!(Plaintext::read(&bytes[..], 10, bytes.len() - 1).is_err());
        assert!(Plaintext::read(&b""[..], 0, 0).unwrap().len() == 0);
    }

    #[test]
    fn parts_are_joined_up_to_the_limit() {
        let value = Plaintext::take(b"secret".to_vec());
        let parts = [Part::Text(b"a="), Part::Value(&value), Part::Text(b"\n"), Part::Value(&value)];
        assert!(Plaintext::join(&parts, 15).unwrap().expose(|bytes| bytes == b"a=secret\nsecret"));
        assert!(Plaintext::join(&parts, 14).is_none());
        assert!(Plaintext::join(&[], 0).unwrap().len() == 0);
    }

    #[test]
    fn a_read_error_is_never_a_short_value() {
        struct Breaks(u8);
        impl Read for Breaks {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 > 2 {
                    Err(io::Error::other("cut"))
                } else {
                    buffer[0] = 1;
                    Ok(1)
                }
            }
        }
        assert!(Plaintext::read(Breaks(0), 10, 10).is_err());
    }

    #[test]
    fn its_debug_form_shows_nothing() {
        assert_eq!(format!("{:?}", Plaintext::take(b"canary".to_vec())), "Plaintext(..)");
    }
}
