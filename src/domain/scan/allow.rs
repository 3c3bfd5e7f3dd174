//! Comments in files that allow a finding. Each names a rule and a reason. A comment that no longer allows anything is
//! reported as stale, and so is an entry of `[scan] allow` in the policy.

use crate::domain::scan::rules::named;

/// The start of such a comment.
pub(super) const REMARK: &str = "sealift:allow";

/// A comment that allows a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub rule: String,
    /// Its line, from 1.
    pub line: u64,
    /// Whether there was a finding that it allows.
    pub used: bool,
}

/// The rule that the comment names; `None` if there is no comment sign before it, no known rule, or no reason.
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
