//! Text from others: a host, a program, a file. It is shown as one line in which nothing moves the cursor, changes the
//! writing direction, or begins another line. What a host sends is limited in length and in number.

use std::fmt::Write;

use serde_json::Value;

/// How many characters of a string from a host are kept.
pub const LONGEST: usize = 1000;
/// Likewise, for a key.
const KEY: usize = 8 << 10;
/// The maximum number of entries in a list from a host; lists of a system's paths may be longer.
const MOST: usize = 4096;
/// The maximum number of paths of a system.
const PATHS: usize = 1 << 18;

/// Whether a character has an effect on a terminal or on line splitting: control characters, Unicode line ends, and
/// characters that change the writing direction.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text as one line, with escapes for such characters.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            c if acts(c) => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

/// Whether bytes contain a sequence. Nothing is copied.
pub fn holds(bytes: &[u8], word: &[u8]) -> bool {
    let Some((first, rest)) = word.split_first() else { return false };
    let mut left = bytes;
    while let Some(at) = left.iter().position(|byte| byte == first) {
        left = left.get(at + 1..).unwrap_or_default();
        if left.starts_with(rest) {
            return true;
        }
    }
    false
}

/// Resolves a path against a folder, both relative to the same top; `None` if it leads above that.
pub fn resolved(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A path with the escapes of a URL.
pub fn in_url(path: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'~' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(one).collect()
}

/// The first `most` characters of a text; an ellipsis marks a cut.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Like `one_line`, for JSON text: uses the escapes of JSON, and keeps line ends. Outside of strings there is nothing
/// to escape.
pub fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _written = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A value from a host, with every string in it turned into one line, and strings and lists cut to a sensible length.
pub fn told(value: Value) -> Value {
    bounded(value, LONGEST, MOST)
}

fn bounded(value: Value, longest: usize, most: usize) -> Value {
    let text = |text: &str| cut(&one_line(&cut(text, longest)), longest);
    match value {
        Value::String(said) => Value::String(text(&said)),
        Value::Array(all) => Value::Array(all.into_iter().take(most).map(|one| bounded(one, longest, MOST)).collect()),
        Value::Object(all) => {
            let entry = |(key, value): (String, Value)| {
                let value = match key.as_str() {
                    "closure" | "sizes" | "coming_closure" | "coming_sizes" => bounded(value, LONGEST, PATHS),
                    "keys" => bounded(value, KEY, MOST),
                    _ => bounded(value, LONGEST, MOST),
                };
                (text(&key), value)
            };
            Value::Object(all.into_iter().take(most).map(entry).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "a\n\r\t\u{1b}]52;c;x\u{7}\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{2028}\u{2029}\u{202e}\u{2066}b";

    #[test]
    fn what_acts_stands_as_its_escape() {
        let line = one_line(EVIL);
        assert_eq!(
            line,
            "a\\n\\u{d}\\t\\u{1b}]52;c;x\\u{7}\\u{7f}\\u{85}\\u{9b}\\u{61c}\\u{200e}\\u{2028}\\u{2029}\\u{202e}\\u{2066}b"
        );
        assert_eq!(one_line("caf\u{e9} \u{2026} \u{2713}"), "caf\u{e9} \u{2026} \u{2713}");
    }

    #[test]
    fn json_says_the_same_without_anything_that_acts() {
        let text = json(&serde_json::to_string_pretty(&[EVIL]).unwrap());
        assert!(!text.chars().any(|c| acts(c) && c != '\n'), "{text}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [EVIL]);
    }

    #[test]
    fn what_a_host_tells_is_bounded() {
        let long = "\n".repeat(1 << 20);
        let value = serde_json::json!({
            "text": &long, "name\n": &long, "list": vec![0; 1 << 16], "closure": vec![0; 1 << 16], "coming_sizes": vec![0; 1 << 16], "x": { "y": [[&long]] },
        });
        let told = told(value);
        let length = |value: &Value| value.as_str().unwrap().chars().count();
        for one in [&told["text"], &told["name\\n"], &told["x"]["y"][0][0]] {
            assert_eq!(length(one), LONGEST + 1);
        }
        assert_eq!(
            ["list", "closure", "coming_sizes"].map(|key| told[key].as_array().unwrap().len()),
            [MOST, 1 << 16, 1 << 16]
        );
    }
}
