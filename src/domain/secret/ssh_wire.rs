//! The wire format of SSH public keys (RFC 4253, section 6.6; RFC 8709): checked completely and strictly before a
//! library parses it. A key has only one valid encoding, and a key that everybody can use has an error of its own.

/// What is wrong with a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// It is not a key, or not in canonical form.
    Damaged,
    /// Its modulus is below 2048 bits.
    Short,
    /// Its modulus is above 4096 bits.
    Long,
    /// Everybody can decrypt what is encrypted to it, for this reason.
    Open(&'static str),
}

/// The modulus is tested for factors below this number: enough to distinguish an invented or damaged number from a
/// product of two large primes.
const TRIED: u32 = 256;

/// What is wrong with a key of this type; `None` if its numbers are fine. The point of an ed25519 key is not checked.
pub fn weakness(kind: &str, wire: &[u8]) -> Option<Weakness> {
    let fields = fields(wire);
    match fields.as_deref() {
        Some([name, point]) if kind == "ssh-ed25519" && *name == kind.as_bytes() => {
            (point.len() != 32).then_some(Weakness::Damaged)
        }
        Some([name, exponent, modulus]) if kind == "ssh-rsa" && *name == kind.as_bytes() => rsa(exponent, modulus),
        _ => Some(Weakness::Damaged),
    }
}

fn rsa(exponent: &[u8], modulus: &[u8]) -> Option<Weakness> {
    let (Some(exponent), Some(modulus)) = (number(exponent), number(modulus)) else { return Some(Weakness::Damaged) };
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    match bits {
        ..2048 => Some(Weakness::Short),
        4097.. => Some(Weakness::Long),
        _ if exponent == [1] => Some(Weakness::Open("its exponent is 1, which leaves everything as it is")),
        _ if !odd(exponent) || exponent.len() > 5 => Some(Weakness::Damaged),
        _ if !odd(modulus) || (3..TRIED).step_by(2).any(|divisor| divides(divisor, modulus)) => {
            Some(Weakness::Open("its modulus has a small factor, from which the private key is computed"))
        }
        _ => None,
    }
}

fn divides(divisor: u32, number: &[u8]) -> bool {
    number.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % divisor) == 0
}

/// The bytes of a positive number in its only valid encoding (RFC 4251, section 5, mpint).
fn number(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0, rest @ ..] => rest.first().is_some_and(|first| first & 0x80 != 0).then_some(rest),
        [first, ..] if first & 0x80 == 0 => Some(bytes),
        _ => None,
    }
}

/// The strings that the key consists of; `None` if there are too many, or if the last one does not end at the end of
/// the input.
fn fields(mut wire: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::with_capacity(3);
    while !wire.is_empty() && fields.len() < 3 {
        let (length, rest) = wire.split_first_chunk()?;
        let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        fields.push(field);
        wire = rest;
    }
    wire.is_empty().then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(fields: &[&[u8]]) -> Vec<u8> {
        let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
        fields.iter().flat_map(|field| [&length(field)[..], field].concat()).collect()
    }

    /// A number of this many bytes without a divisor below 256.
    fn modulus(bytes: usize) -> Vec<u8> {
        let mut number = vec![0xd5; bytes];
        while (3..TRIED).any(|divisor| divides(divisor, &number)) || number[bytes - 1] & 1 == 0 {
            number[bytes - 1] = number[bytes - 1].wrapping_add(1);
        }
        [vec![0], number].concat()
    }

    #[test]
    fn an_rsa_key_is_taken_in_one_writing_and_within_bounds() {
        let (e, n) = (&[1, 0, 1][..], modulus(256));
        let of = |fields: &[&[u8]]| weakness("ssh-rsa", &wire(fields));
        assert_eq!(of(&[b"ssh-rsa", e, &n]), None);
        assert_eq!(of(&[b"ssh-rsa", &[3], &n]), None);
        for damaged in [
            &[&b"ssh-rsa"[..], &[0]][..],
            &[b"ssh-rsa", &[0], &n],
            &[b"ssh-rsa", &[], &n],
            &[b"ssh-rsa", &[0, 1, 0, 1], &n],
            &[b"ssh-rsa", &[0x81], &n],
            &[b"ssh-rsa", &[2], &n],
            &[b"ssh-rsa", &[1; 6], &n],
            &[b"ssh-rsa", e, &n[1..]],
            &[b"ssh-rsa", e, &[&[0][..], &n].concat()],
            &[b"ssh-rsa", e, &n, b""],
            &[b"ssh-rsax", e, &n],
            &[b"ssh-dss", e, &n],
        ] {
            assert_eq!(of(damaged), Some(Weakness::Damaged), "{damaged:?}");
        }
        let whole = wire(&[b"ssh-rsa", e, &n]);
        for cut in 0..whole.len() {
            assert_eq!(weakness("ssh-rsa", &whole[..cut]), Some(Weakness::Damaged));
        }
        assert_eq!(of(&[b"ssh-rsa", e, &modulus(128)]), Some(Weakness::Short));
        assert_eq!(of(&[b"ssh-rsa", e, &modulus(1024)]), Some(Weakness::Long));
        let mut even = n.clone();
        even[256] ^= 1;
        let mut third = vec![0, 0x81];
        third.resize(257, 0);
        third[256] = (0..=255).find(|last| *last & 1 == 1 && divides(3, &[&third[..256], &[*last]].concat())).unwrap();
        for open in [&[&b"ssh-rsa"[..], &[1], &n][..], &[b"ssh-rsa", e, &even], &[b"ssh-rsa", e, &third]] {
            assert!(matches!(of(open), Some(Weakness::Open(_))), "{open:?}");
        }
    }

    #[test]
    fn an_ed25519_key_has_two_fields_of_their_lengths() {
        let of = |fields: &[&[u8]]| weakness("ssh-ed25519", &wire(fields));
        assert_eq!(of(&[b"ssh-ed25519", &[9; 32]]), None);
        for damaged in [&[&b"ssh-ed25519"[..], &[9; 31]][..], &[b"ssh-ed25519", &[9; 32], b""], &[b"ssh-rsa", &[9; 32]]]
        {
            assert_eq!(of(damaged), Some(Weakness::Damaged));
        }
    }
}
