//! What TOML 1.1 added to 1.0. The parser of recipients.toml accepts it, but Nix, which reads the same file, does not.

/// The first use of it in valid TOML: its position and description.
pub fn newer(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    // The open brackets, and the last byte that was not white space.
    let (mut open, mut before) = (Vec::new(), b' ');
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => {
                at += bytes.get(at..)?.iter().position(|byte| *byte == b'\n').unwrap_or(usize::MAX - at);
                continue;
            }
            b'"' | b'\'' => {
                let (end, escape) = string(bytes, at);
                if let Some(escape) = escape {
                    return Some((escape, "the escapes \\e and \\x"));
                }
                at = end;
                before = *byte;
                continue;
            }
            b'{' | b'[' => open.push(*byte),
            b'}' if before == b',' => return Some((at, "a comma after the last value of an inline table")),
            b'}' | b']' => drop(open.pop()),
            b'\n' if open.last() == Some(&b'{') => return Some((at, "an inline table of several lines")),
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = *byte;
        }
        at += 1;
    }
    None
}

/// The end of the string that begins here, and the position of an escape that 1.0 does not have.
fn string(bytes: &[u8], from: usize) -> (usize, Option<usize>) {
    let quote = bytes.get(from).copied().unwrap_or_default();
    let here = |at: usize, length: usize| {
        bytes.get(at..at.saturating_add(length)).is_some_and(|part| part.iter().all(|byte| *byte == quote))
    };
    let length = if here(from, 3) { 3 } else { 1 };
    let (mut at, mut escape) = (from + length, None);
    while at < bytes.len() && !here(at, length) {
        if quote == b'"' && bytes.get(at) == Some(&b'\\') {
            if matches!(bytes.get(at + 1), Some(b'e' | b'x')) {
                escape = escape.or(Some(at));
            }
            at += 1;
        }
        at += 1;
    }
    at += length;
    // Up to two quotes may precede the closing quotes of a multi-line string.
    while length == 3 && here(at, 1) {
        at += 1;
    }
    (at, escape)
}

#[cfg(test)]
mod tests {
    use super::newer;

    #[test]
    fn what_is_new_is_found_and_what_is_not_is_left() {
        for (text, found) in [
            ("a = { b = 1,\n c = 2 }", "several lines"),
            ("a = { # x\n b = 1 }", "several lines"),
            ("a = [ { b = 1,\n c = 2 } ]", "several lines"),
            ("a = { b = 1, }", "a comma after"),
            ("a = \"\\e\"", "\\e and \\x"),
            ("a = \"\"\"\\x41\"\"\"", "\\e and \\x"),
            ("a = \"x\\\\\\x41\"", "\\e and \\x"),
        ] {
            assert!(newer(text).is_some_and(|(_, what)| what.contains(found)), "{text}");
        }
        for text in [
            "",
            "# { a\n[b]\nc = [\n 1, # {\n 2,\n]\nd = { e = [\n 1 ], f = { } }\n",
            "a = '{\\e'\nb = \"{\"\nc = \"\\\\e \\u0041\"\n",
            "a = '''\n{ \\x\n'''\nb = \"\"\"\n{ \"\" \\\"\"\"\"\"\nc = 1",
            "a = \"\"\"x\"\"\"\"\"\nb = { c = \"}\" }\n",
            "[[a]]\nb.c = { d = 1 }",
            "# the end {",
        ] {
            assert_eq!(newer(text), None, "{text}");
        }
    }
}
