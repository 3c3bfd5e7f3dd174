//! The forms in which other programs may write a text: escaped or encoded. Every buffer here is wiped.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// The maximum length; of a longer text, only a middle part of this length is used.
const LONGEST: usize = 1024;
/// From base64, two adjacent parts of this length are searched for: wherever lines are wrapped, one of them is on a
/// single line.
const WRAPPED: usize = 32;

/// A text to search for.
pub type Unit = Zeroizing<Vec<u8>>;

/// Every form in which a text may be written, if it is at least `shortest` bytes long.
pub fn written(unit: &[u8], shortest: usize) -> Vec<Unit> {
    let mut forms: Vec<Unit> = Vec::new();
    let mut add = |form: Vec<u8>| {
        let form = Zeroizing::new(form);
        if form.len() >= shortest && !forms.contains(&form) {
            forms.push(form);
        }
    };
    add(middle(unit, LONGEST).to_vec());
    let part = middle(unit, LONGEST / 2);
    for skipped in 0..3 {
        for url in [false, true] {
            let mut shifted = Zeroizing::new(vec![0; skipped]);
            shifted.extend_from_slice(part);
            let encoded = if url { URL_SAFE_NO_PAD.encode(&*shifted) } else { STANDARD_NO_PAD.encode(&*shifted) };
            let encoded = Zeroizing::new(encoded.into_bytes());
            // The first characters depend on the preceding bytes, and the last one on the following bytes.
            let last = encoded.len() - usize::from(shifted.len() % 3 != 0);
            let core = encoded.get([0, 2, 3][skipped]..last).unwrap_or_default();
            if core.len() <= 2 * WRAPPED {
                add(core.to_vec());
            } else {
                let core = middle(core, 2 * WRAPPED);
                add(core[..WRAPPED].to_vec());
                add(core[WRAPPED..].to_vec());
            }
        }
    }
    let (small, large) = (b"0123456789abcdef", b"0123456789ABCDEF");
    for digits in [small, large] {
        add(in_digits(middle(unit, LONGEST / 2), digits, b"", None));
    }
    let part = middle(unit, LONGEST / 3);
    for (digits, keep) in [(small, &b"-_.~"[..]), (large, b"-_.~"), (large, b"-_.~/:@!$&'()*+,;=")] {
        add(in_digits(part, digits, b"%", Some(keep)));
    }
    // Nix and JSON strings, indented Nix strings, single quotes of the shell, and others.
    add(replaced(part, &[("\\", "\\\\"), ("\"", "\\\""), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r"), ("${", "\\${")]));
    add(replaced(part, &[("\\", "\\\\"), ("\"", "\\\""), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")]));
    add(replaced(part, &[("\\", "\\\\"), ("\"", "\\\""), ("\n", "\\n"), ("/", "\\/")]));
    add(replaced(part, &[("''", "'''"), ("${", "''${")]));
    add(replaced(part, &[("'", "'\\''")]));
    add(replaced(part, &[("$", "\\$"), ("`", "\\`"), ("\"", "\\\""), ("\\", "\\\\")]));
    add(replaced(part, &[("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;")]));
    forms
}

/// Writes each byte as two hexadecimal digits after `sign`; with `keep`, only bytes that are neither alphanumeric nor
/// in `keep`.
fn in_digits(text: &[u8], digits: &[u8; 16], sign: &[u8], keep: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 3);
    for byte in text {
        if keep.is_some_and(|keep| byte.is_ascii_alphanumeric() || keep.contains(byte)) {
            out.push(*byte);
        } else {
            out.extend_from_slice(sign);
            out.extend([byte >> 4, byte & 15].map(|half| digits[usize::from(half)]));
        }
    }
    out
}

fn middle(text: &[u8], most: usize) -> &[u8] {
    let over = text.len().saturating_sub(most);
    &text[over / 2..text.len() - (over - over / 2)]
}

fn replaced(text: &[u8], pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 6);
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match pairs.iter().find(|(from, _)| rest.starts_with(from.as_bytes())) {
            Some((from, to)) => {
                out.extend_from_slice(to.as_bytes());
                rest = &rest[from.len()..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}
