//! Generates texts that look like secrets: for the examples of rules, and for the corpus on which recall is measured.
//! The source only has forms, such as `ghp_<a36>`, which no scanner reports.

/// Generates a text from a form: `<a36>` stands for 36 letters and digits. `a` letters and digits, `h` hexadecimal, `d`
/// digits, `u` capital letters and 2 to 7, `b` base64, `w` letters, digits, `-` and `_`, `l` letters, `c` the alphabet
/// of age keys; `<n>` is a line end, `<q>` two apostrophes, `<k>` and `<p>` the ends of the lines around a key. The
/// same form and seed give the same text.
pub fn make(form: &str, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_CAFE;
    let mut text = String::new();
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        let Some((word, after)) = after.split_once('>') else {
            rest = after;
            text.push('<');
            continue;
        };
        rest = after;
        let (kind, count) = word.split_at_checked(1).unwrap_or(("", ""));
        let alphabet = match kind {
            "a" => "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "h" => "0123456789abcdef",
            "d" => "0123456789",
            "u" => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            "b" => "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/",
            "w" => "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_",
            "l" => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "c" => "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
            "n" if count.is_empty() => {
                text.push('\n');
                continue;
            }
            "q" | "k" | "p" if count.is_empty() => {
                text.push_str(match kind {
                    "q" => "''",
                    "k" => "KEY-----",
                    _ => "KEY BLOCK-----",
                });
                continue;
            }
            _ => "",
        };
        match count.parse::<usize>() {
            Ok(count) if !alphabet.is_empty() => {
                for _ in 0..count {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let at = usize::try_from(state >> 33).unwrap_or(0) % alphabet.len();
                    text.extend(alphabet.chars().nth(at));
                }
            }
            // Not a form: copied as it is.
            _ => {
                text.push('<');
                text.push_str(word);
                text.push('>');
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::make;

    #[test]
    fn a_form_makes_what_it_says() {
        let text = make("ghp_<a36>;<n><h4> <host> a < b", 1);
        assert!(
            text.starts_with("ghp_") && text.ends_with(" <host> a < b") && text.len() == 4 + 36 + 2 + 4 + 13,
            "{text}"
        );
        assert_eq!(make("<a36>", 7), make("<a36>", 7));
        assert_ne!(make("<a36>", 7), make("<a36>", 8));
    }
}
