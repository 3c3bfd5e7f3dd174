//! Shapes: the declared format of a payload, checked when it is sealed and when it is opened, without printing or
//! changing it. A possible fix is offered, never applied silently.

use std::fmt;
use std::str::FromStr;

use crate::domain::foreign::holds;
use crate::error::{Error, Result};

/// The first line of an OpenSSH private key; in two parts, so that no scanner reports this file.
const OPENSSH: &str = concat!("-----BEGIN OPENSSH ", "PRIVATE KEY-----");

/// Every shape as it is written: used by the parser, messages, help, the schema and completion.
pub static SHAPES: [(&str, Shape); 6] = [
    ("raw", Shape::Raw),
    ("token", Shape::Token),
    ("env:KEY", Shape::Env(String::new())),
    ("ssh-key", Shape::SshKey),
    ("pem", Shape::Pem),
    ("json", Shape::Json),
];

/// All shapes in one line, for messages.
pub fn shapes() -> String {
    let names = SHAPES.each_ref().map(|(name, _)| *name).join(", ");
    names.rsplit_once(", ").map_or_else(String::new, |(first, last)| format!("{first} or {last}"))
}

/// The declared format of a payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Any bytes, but not empty.
    Raw,
    /// One line without spaces, control characters or a newline.
    Token,
    /// A systemd EnvironmentFile that sets this variable.
    Env(String),
    /// An OpenSSH or PEM private key with its final newline.
    SshKey,
    /// PEM blocks.
    Pem,
    /// A JSON text.
    Json,
}

/// A change that would make a payload match its shape. Applied only on request, and reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Write `KEY=` before the value and a newline after it.
    Wrap(String),
    /// Remove the final line ending.
    DropNewline,
    /// Add the missing final newline.
    AddNewline,
}

/// Why a payload does not match its shape. Contains nothing of the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub what: &'static str,
    pub fix: Option<Fix>,
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fix::Wrap(key) => write!(f, "seal it as `{key}=…` with a newline"),
            Fix::DropNewline => f.write_str("drop the line ending at its end"),
            Fix::AddNewline => f.write_str("add the newline at its end"),
        }
    }
}

impl Fix {
    /// The parts of the fixed payload, in order; the value itself is borrowed, not copied.
    pub fn parts<'a>(&'a self, value: &'a [u8]) -> Vec<&'a [u8]> {
        match self {
            Fix::Wrap(key) => vec![key.as_bytes(), b"=", value.trim_ascii_end(), b"\n"],
            Fix::DropNewline => vec![value.strip_suffix(b"\r\n").or(value.strip_suffix(b"\n")).unwrap_or(value)],
            Fix::AddNewline => vec![value, b"\n"],
        }
    }
}

impl Shape {
    /// The file name suffix for such a payload in an editor.
    pub fn suffix(&self) -> &'static str {
        match self {
            Shape::Json => ".json",
            Shape::Env(_) => ".env",
            _ => "",
        }
    }

    /// Checks a payload against the shape.
    pub fn check(&self, value: &[u8]) -> Result<(), Misfit> {
        let misfit = |what, fix| Err(Misfit { what, fix });
        if value.is_empty() {
            return misfit("the value is empty", None);
        }
        match self {
            Shape::Raw => Ok(()),
            Shape::Token => {
                let body = value.strip_suffix(b"\r\n").or(value.strip_suffix(b"\n")).unwrap_or(value);
                if body.is_empty() || !body.iter().all(|b| (0x21..=0x7e).contains(b)) {
                    misfit("a token is one line of visible characters without spaces", None)
                } else if body.len() != value.len() {
                    misfit("the value ends in a newline, which a token does not", Some(Fix::DropNewline))
                } else {
                    Ok(())
                }
            }
            Shape::Env(key) => check_env(key, value),
            Shape::SshKey => match check_pem(value) {
                Ok(()) if value.starts_with(OPENSSH.as_bytes()) => Ok(()),
                Ok(()) if value.starts_with(b"-----BEGIN") && holds(first_line(value), b"PRIVATE KEY-----") => Ok(()),
                Ok(()) => misfit("it is PEM, but not a private SSH key", None),
                Err(misfit) => Err(misfit),
            },
            Shape::Pem => check_pem(value),
            Shape::Json => serde_json::from_slice::<serde::de::IgnoredAny>(value)
                .map(drop)
                .map_err(|_| Misfit { what: "it is not JSON", fix: None }),
        }
    }

    /// The variable that a payload of this shape sets.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Shape::Env(key) => Some(key),
            _ => None,
        }
    }
}

fn check_env(key: &str, value: &[u8]) -> Result<(), Misfit> {
    let misfit = |what, fix| Err(Misfit { what, fix });
    if value.contains(&b'\r') {
        return misfit("it has CRLF line endings; systemd would keep the CR in the value", None);
    }
    if value.contains(&0) {
        return misfit("it holds a NUL byte, which an environment variable cannot", None);
    }
    let mut found = false;
    for line in value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_start) {
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
            continue;
        }
        let (name, set) = match line.iter().position(|b| *b == b'=') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (&[][..], &[][..]),
        };
        let named = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        if !named {
            let bare = !value.trim_ascii_end().contains(&b'\n');
            return misfit("it is not `KEY=value` lines", bare.then(|| Fix::Wrap(key.to_owned())));
        }
        if name == key.as_bytes() {
            if set.trim_ascii().is_empty() {
                return misfit("the variable that its shape names is set to nothing", None);
            }
            found = true;
        }
    }
    if found {
        return Ok(());
    }
    // `abc=` looks like a variable, but also like the end of base64: offer the wrap for a single line.
    let one_line = !value.trim_ascii_end().contains(&b'\n');
    misfit("it does not set the variable that its shape names", one_line.then(|| Fix::Wrap(key.to_owned())))
}

fn check_pem(value: &[u8]) -> Result<(), Misfit> {
    let misfit = |what, fix| Err(Misfit { what, fix });
    if value.contains(&b'\r') {
        return misfit("it has CRLF line endings, which OpenSSH and OpenSSL refuse", None);
    }
    let mut open: Option<&[u8]> = None;
    let mut blocks = 0;
    for line in value.split(|b| *b == b'\n') {
        let label =
            |head: &[u8]| line.strip_prefix(head).and_then(|rest| rest.strip_suffix(b"-----")).map(<[u8]>::to_vec);
        if let Some(begun) = label(b"-----BEGIN ") {
            if open.is_some() || begun.is_empty() {
                return misfit("a BEGIN line stands inside a block", None);
            }
            open = Some(&line[11..line.len() - 5]);
        } else if let Some(ended) = label(b"-----END ") {
            if open != Some(ended.as_slice()) {
                return misfit("an END line does not match its BEGIN line", None);
            }
            open = None;
            blocks += 1;
        }
    }
    if blocks == 0 || open.is_some() || !value.starts_with(b"-----BEGIN ") {
        return misfit("it does not begin and end with BEGIN and END lines", None);
    }
    if !value.ends_with(b"\n") {
        return misfit("its last newline is missing; a key without it does not load", Some(Fix::AddNewline));
    }
    Ok(())
}

fn first_line(value: &[u8]) -> &[u8] {
    value.split(|b| *b == b'\n').next().unwrap_or_default()
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let key = text.strip_prefix("env:").filter(|key| {
            let word = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            word && (1..=128).contains(&key.len()) && !key.starts_with(|c: char| c.is_ascii_digit())
        });
        let plain = || SHAPES.iter().find(|(name, shape)| *name == text && shape.variable().is_none());
        key.map(|key| Shape::Env(key.to_owned())).or_else(|| plain().map(|(_, shape)| shape.clone())).ok_or_else(|| {
            Error::usage("not a shape").help(format!("shapes: {}; KEY is a variable, as in env:TOKEN", shapes()))
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Env(key) => write!(f, "env:{key}"),
            plain => f.write_str(SHAPES.iter().find(|(_, shape)| shape == plain).map_or("", |(name, _)| name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &str, value: &[u8]) -> Result<(), Misfit> {
        shape.parse::<Shape>().unwrap().check(value)
    }

    #[test]
    fn every_shape_is_written_as_it_is_read() {
        for (name, _) in &SHAPES {
            assert_eq!(name.parse::<Shape>().unwrap().to_string(), *name);
        }
        assert_eq!(shapes(), "raw, token, env:KEY, ssh-key, pem or json");
        for text in ["", "env:", "env:1A", "env:A-B", "Raw", "raw "] {
            assert!(text.parse::<Shape>().is_err(), "{text}");
        }
    }

    #[test]
    fn fitting_values_fit() {
        for (shape, value) in [
            ("raw", &b"\0\xff\r\n"[..]),
            ("token", b"abc-123=="),
            ("env:TOKEN", b"TOKEN=abc"),
            ("env:TOKEN", b"# the runner's\n\nURL=https://x\nTOKEN=\"a b\"\n"),
            ("pem", b"-----BEGIN X-----\nAAAA\n-----END X-----\n"),
            ("json", br#"{"a": [1, 2]}"#),
        ] {
            assert_eq!(check(shape, value), Ok(()), "{shape}");
        }
        let header =
            ["-----BEGIN OPENSSH PRIV", "ATE KEY-----\nAAAA\n-----END OPENSSH PRIV", "ATE KEY-----\n"].concat();
        assert_eq!(check("ssh-key", header.as_bytes()), Ok(()));
    }

    #[test]
    fn misfits_are_told_with_their_mend() {
        for (shape, value, fix) in [
            ("raw", &b""[..], None),
            ("token", b"abc\n", Some(Fix::DropNewline)),
            ("token", b"abc\r\n", Some(Fix::DropNewline)),
            ("token", b"a b", None),
            ("token", b"a\nb\n", None),
            ("env:TOKEN", b"abc", Some(Fix::Wrap("TOKEN".into()))),
            ("env:TOKEN", b"abc==\n", Some(Fix::Wrap("TOKEN".into()))),
            ("env:TOKEN", b"TOKEN=\n", None),
            ("env:TOKEN", b"TOKEN=a\r\n", None),
            ("env:TOKEN", b"A=1\nB=2\n", None),
            ("pem", b"-----BEGIN X-----\nAAAA\n-----END X-----", Some(Fix::AddNewline)),
            ("pem", b"-----BEGIN X-----\nAAAA\n-----END Y-----\n", None),
            ("pem", b"-----BEGIN X-----\nAAAA\n", None),
            ("ssh-key", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None),
            ("json", b"{", None),
        ] {
            assert_eq!(check(shape, value).unwrap_err().fix, fix, "{shape} {value:?}");
        }
    }

    #[test]
    fn a_mended_value_fits() {
        for (shape, value) in
            [("env:TOKEN", &b"abc\n"[..]), ("token", b"abc\r\n"), ("pem", b"-----BEGIN X-----\nA\n-----END X-----")]
        {
            let fix = check(shape, value).unwrap_err().fix.unwrap();
            assert_eq!(check(shape, &fix.parts(value).concat()), Ok(()), "{shape}");
        }
    }
}
