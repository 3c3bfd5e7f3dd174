//! Searches a text for a value: the whole value, its lines, what its lines assign to names, and each of these in other
//! encodings. Every buffer here is wiped.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::domain::secret::reading::readings;
use crate::domain::secret::written::{Unit, written};

/// The shortest part that is searched for: shorter ones occur in any line.
pub const SHORTEST: usize = 6;
/// How many parts of a value are searched for in every encoding; the others only as they are.
const WRITTEN: usize = 256;
/// Words that precede a value in files such as netrc.
const BEFORE: [&[u8]; 4] = [b"password", b"passwd", b"secret", b"token"];

/// The forms to search for, by a keyed hash of their first bytes. The key is random for each run.
#[derive(Default)]
pub struct Traces {
    key: RandomState,
    forms: HashMap<u64, Vec<Unit>>,
    /// The same hash of whole forms.
    known: HashSet<u64>,
}

impl Traces {
    pub fn add(&mut self, value: &[u8]) {
        let value = value.trim_ascii();
        self.add_part(value, true);
        let mut parts = Vec::new();
        for line in value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            parts.push(line);
            given(line, &mut parts);
        }
        for (at, part) in parts.into_iter().enumerate() {
            self.add_part(part, at < WRITTEN);
        }
    }

    fn add_part(&mut self, part: &[u8], in_every_writing: bool) {
        if part.len() < SHORTEST {
            return;
        }
        let mut forms = if in_every_writing { written(part, SHORTEST) } else { Vec::new() };
        forms.push(Unit::new(part.to_vec()));
        for form in forms {
            if let Some(begin) = form.get(..SHORTEST)
                && self.known.insert(self.key.hash_one(&*form))
            {
                self.forms.entry(self.key.hash_one(begin)).or_default().push(form);
            }
        }
    }

    pub fn are_in(&self, text: &[u8]) -> bool {
        self.stand_in(text) || readings(text).iter().any(|read| self.stand_in(read))
    }

    fn stand_in(&self, text: &[u8]) -> bool {
        text.windows(SHORTEST).enumerate().any(|(at, begin)| {
            let forms = self.forms.get(&self.key.hash_one(begin)).into_iter().flatten();
            let rest = text.get(at..).unwrap_or_default();
            forms.into_iter().any(|form| rest.starts_with(form))
        })
    }
}

/// Collects the values in a line: after `=` and `:`, in quotes, after a word such as `password`, and in a URL.
fn given<'a>(line: &'a [u8], parts: &mut Vec<&'a [u8]>) {
    if let Some(at) = line.iter().position(|byte| b"=:".contains(byte)) {
        parts.push(plain(line.get(at + 1..).unwrap_or_default()));
    }
    // Quoted strings, but not quoted keys.
    let mut quoted = line.split(|byte| *byte == b'"').skip(1).peekable();
    while let (Some(text), Some(next)) = (quoted.next(), quoted.peek()) {
        if !next.trim_ascii_start().starts_with(b":") {
            parts.push(text);
        }
        quoted.next();
    }
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if BEFORE.contains(&word) {
            parts.extend(words.next().map(plain));
        }
        // scheme://user:password@place
        let user = word.windows(3).position(|part| part == b"://").and_then(|at| word.get(at + 3..));
        let user = user.and_then(|rest| rest.get(..rest.iter().rposition(|byte| *byte == b'@')?));
        parts.extend(user.and_then(|user| user.get(user.iter().position(|byte| *byte == b':')? + 1..)));
    }
}

/// A value without a trailing list separator and without quotes.
fn plain(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b",").or_else(|| text.strip_suffix(b";")).unwrap_or(text).trim_ascii();
    match text {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_value_is_known_however_it_is_written() {
        let are_in = |value: &str, line: &str| {
            let mut traces = Traces::default();
            traces.add(value.as_bytes());
            traces.are_in(line.as_bytes())
        };
        for (value, line) in [
            ("hunter22\n", "login with hunter22 failed"),
            ("TOKEN=abcdef\n", "Authorization: token abcdef"),
            ("line-one\nline-two\n", "key line-two"),
            ("export KEY=\"quoted-1\"\nX=1\n", "key quoted-1 refused"),
            ("KEY='quoted-1'\n", "key quoted-1 refused"),
            ("{\"password\": \"json-1\", \"user\": \"x\"}", "json-1"),
            ("{\n  \"a\": {\n    \"b\": \"json-1\",\n    \"c\": 7\n  }\n}", "is json-1 right?"),
            ("{\"list\":[\"json-1\",\"json-2\"]}", "is json-2 right?"),
            ("machine x login y password netrc-1 port 7", "as y with netrc-1"),
            ("db:\n  password: yaml-1\n", "(yaml-1)"),
            ("db = { password = 'toml-1'; };", "with db = { password = 'toml-1'; };"),
            (concat!("DB=postgres://app:", "p@ss:word@db/app\n"), "refused: p@ss:word"),
            ("hunter22", "Basic aHVudGVyMjI="),
            ("hunter22", "{\"auth\":\"dXNlcjpodW50ZXIyMg==\"}"),
            ("hunter22", "68756e7465723232"),
            ("a b\"c d", "got \"a b\\\"c d\""),
            ("a b/c d", "GET /?q=a%20b%2Fc%20d"),
            ("a b\nc d", "\"a b\\nc d\""),
            // As JSON, Go, Python, Rust, systemd, PHP and the shell quote special characters.
            ("a&b<c>d", r#"{"p":"a\u0026b\u003cc\u003ed"}"#),
            ("pässwörd", r#"{"p": "p\u00e4ssw\u00f6rd"}"#),
            ("pässwörd", r"b'p\xc3\xa4ssw\xc3\xb6rd'"),
            ("it's\\mine", r"'it\'s\\mine'"),
            ("a\u{1b}b cd", r"a\u{1b}b cd"),
            ("a b;c d", r"a\x20b\x3bc\x20d"),
            ("a b;c d", r"a\ b\;c\ d"),
            ("a\"b\\cd", r#"{\"log\":\"{\\\"p\\\":\\\"a\\\\\\\"b\\\\\\\\cd\\\"}\"}"#),
            ("a b&c=d", "password=a+b%26c%3Dd"),
            ("a b&c=d", "GET /?to=%2F%3Fp%3Da%2520b%2526c%253Dd"),
            ("a'b\"cd", "<p>a&#39;b&#34;cd</p>"),
            ("it's mine", "VALUES ('it''s mine')"),
            ("a=b=c=d", "a=3Db=3Dc=3Dd"),
            ("hunter22", "[104 117 110 116 101 114 50 50]"),
            ("hunter22", "[104, 117, 110, 116, 101, 114, 50, 50]"),
            ("hunter22", "68:75:6e:74:65:72:32:32"),
            ("hunter22", r"\x68\x75\x6e\x74\x65\x72\x32\x32"),
            ("hunter22", "0x68, 0x75, 0x6e, 0x74, 0x65, 0x72, 0x32, 0x32"),
        ] {
            assert!(are_in(value, line), "{value:?} in {line:?}");
        }
        for (value, line) in [
            ("80", "listening on 80"),
            ("", ""),
            ("hunter22", "quiet"),
            ("hunter22", "hunter2"),
            ("{\"password\": \"json-1\"}", "no password was given"),
            (concat!("machine x login y pass", "word netrc-1"), "this machine has no password"),
        ] {
            assert!(!are_in(value, line), "{value:?} in {line:?}");
        }
    }

    #[test]
    fn a_large_value_is_looked_for_line_by_line() {
        let lines: Vec<String> = (0..5000).map(|line| format!("name{line} = value-{line:04}")).collect();
        let mut traces = Traces::default();
        traces.add(lines.join("\n").as_bytes());
        assert!(traces.are_in(b"with value-4999.") && !traces.are_in(b"with value-"));
    }
}
