//! What a person has looked at and lets stand: entries of `[scan] allow`, and remarks in the files themselves. Each names a
//! rule and a reason; what no longer allows anything is stale, and is said.

use crate::domain::scan::rules::named;

/// How a remark in a file begins.
pub(super) const REMARK: &str = "sealift:allow";

/// An entry of `[scan] allow` in recipients.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// The rule.
    pub rule: String,
    /// The files: a path from the top of the repository, in which `*` stands for anything but `/`, and `**` for anything.
    pub path: String,
    /// Why.
    pub reason: String,
    /// Where it is declared in recipients.toml.
    pub line: usize,
}

impl Allow {
    /// Whether it speaks of this finding.
    pub fn covers(&self, rule: &str, path: &[u8]) -> bool {
        self.rule == rule && matches(self.path.as_bytes(), path)
    }
}

/// Whether a path is of a pattern, in time that grows with the product of their lengths at most.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    // A folder means all that is in it.
    let folder = pattern.ends_with(b"/");
    // reached[n]: the first n bytes of the path are of the pattern so far.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    let mut rest = pattern;
    while let Some((first, after)) = rest.split_first() {
        let mut next = vec![false; path.len() + 1];
        if *first == b'*' {
            let any = after.first() == Some(&b'*');
            rest = if any { &after[1..] } else { after };
            let mut open = false;
            for at in 0..=path.len() {
                open |= reached[at];
                next[at] = open;
                open &= any || path.get(at).is_some_and(|byte| *byte != b'/');
            }
        } else {
            rest = after;
            for at in 0..path.len() {
                next[at + 1] = reached[at] && path[at] == *first;
            }
        }
        reached = next;
    }
    if folder { reached[1..].contains(&true) } else { reached[path.len()] }
}

/// A remark in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The rule that it names.
    pub rule: String,
    /// Its line, from 1.
    pub line: u64,
    /// Whether something was found there that it allows.
    pub used: bool,
}

/// The rule that a remark names; none for what is no remark: no comment sign before it, no known rule, or no reason.
pub(super) fn remark(text: &[u8], at: usize) -> Option<String> {
    let before = text.get(at.saturating_sub(8)..at)?.trim_ascii_end();
    let sign = ["#", "//", "--", ";", "/*", "<!--"].iter().any(|sign| before.ends_with(sign.as_bytes()));
    let rest = text.get(at + REMARK.len()..text.len().min(at + REMARK.len() + 300))?;
    let line = rest.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let rule = std::str::from_utf8(words.next()?).ok()?;
    let reason = words.any(|word| word.iter().any(u8::is_ascii_alphanumeric));
    (sign && line.first() == Some(&b' ') && reason && named(rule).is_some()).then(|| rule.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_paths() {
        for (pattern, path, same) in [
            ("a/b.nix", "a/b.nix", true),
            ("a/b.nix", "a/b.nixx", false),
            ("a/*.nix", "a/b.nix", true),
            ("a/*.nix", "a/c/b.nix", false),
            ("a/**.nix", "a/c/b.nix", true),
            ("**", "any/thing", true),
            ("tests/", "tests/a/b", true),
            ("tests/", "mytests/a", false),
            ("*", "a/b", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), same, "{pattern} {path}");
        }
        assert!(!matches("*a".repeat(200).as_bytes(), "a".repeat(199).as_bytes()));
    }

    #[test]
    fn a_remark_needs_a_comment_a_known_rule_and_a_reason() {
        let read = |text: &str| {
            let text = text.replace("ALLOW", REMARK);
            text.find(REMARK).and_then(|at| remark(text.as_bytes(), at))
        };
        assert_eq!(read("x = 1; # ALLOW jwt from the RFC").as_deref(), Some("jwt"));
        assert_eq!(read("// ALLOW assigned-password a test's own").as_deref(), Some("assigned-password"));
        for text in
            ["# ALLOW jwt", "# ALLOW no-such-rule because", "ALLOW jwt because", "# ALLOW", "# ALLOWED jwt because"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
