//! The value of a string literal as Nix would read it, as plaintext, and only if it is unambiguous.

use std::ops::Range;

use crate::domain::nix::guard;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Result};

/// The value of the literal at `span`, which includes its quotes.
pub fn value(text: &str, span: Range<usize>) -> Result<Plaintext> {
    let odd = |what: &str| {
        let line = guard::line_of(text, span.start);
        Error::usage(format!("line {line} is not understood: {what}"))
            .help("write the value as a plain string in double quotes, then run this again")
    };
    let literal = text.get(span.clone()).unwrap_or_default();
    if literal.contains('\r') {
        return Err(odd("the string holds a carriage return"));
    }
    if let Some(body) = literal.strip_prefix("''").and_then(|rest| rest.strip_suffix("''")) {
        if body.contains("''") {
            return Err(odd("the string between '' and '' has escapes"));
        }
        return Ok(Plaintext::take(unindented(body).into_bytes()));
    }
    let body = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let body = body.ok_or_else(|| odd("it is not a string"))?;
    Ok(Plaintext::take(unescaped(body).into_bytes()))
}

/// Decodes the escapes of a string in double quotes.
fn unescaped(body: &str) -> String {
    // At most as long as the source, so the buffer never moves.
    let mut value = String::with_capacity(body.len());
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        value.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(other) => other,
                None => break,
            },
            other => other,
        });
    }
    value
}

/// The value of an indented string: without the first line if it is blank, without the indentation common to all lines,
/// without the spaces before the closing quotes.
fn unindented(body: &str) -> String {
    let body = match body.split_once('\n') {
        Some((first, rest)) if first.bytes().all(|byte| byte == b' ') => rest,
        _ => body,
    };
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let indent = body.split('\n').filter(|line| depth(line) < line.len()).map(depth).min().unwrap_or(usize::MAX);
    let mut value = String::with_capacity(body.len());
    let last = body.split('\n').count() - 1;
    for (at, line) in body.split('\n').enumerate() {
        if at > 0 {
            value.push('\n');
        }
        if at < last || depth(line) < line.len() || at == 0 {
            value.push_str(line.get(depth(line).min(indent)..).unwrap_or_default());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(literal: &str) -> Option<String> {
        value(literal, 0..literal.len())
            .ok()
            .map(|value| value.expose(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
    }

    #[test]
    fn a_literal_is_what_nix_makes_of_it() {
        for (literal, value) in [
            (r#""plain""#, "plain"),
            (r#""a\"b\\c\n\t\$\q""#, "a\"b\\c\n\t$q"),
            (r#""$${x} $x""#, "$${x} $x"),
            ("''plain''", "plain"),
            ("''\n    a\n      b\n\n    c\n  ''", "a\n  b\n\nc\n"),
            ("''  a''", "a"),
            ("''a\n  b''", "a\n  b"),
            ("''\n''", ""),
            ("''  ''", ""),
        ] {
            assert_eq!(read(literal).as_deref(), Some(value), "{literal}");
        }
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        for literal in ["''a '''b''", "''a ''${b}''", "\"a\r\"", "./path", "a b"] {
            assert_eq!(read(literal), None, "{literal}");
        }
    }
}
