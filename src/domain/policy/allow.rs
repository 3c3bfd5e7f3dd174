//! Entries of `[scan] allow`: findings that a person has reviewed and accepted.

/// An entry of `[scan] allow` in recipients.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    pub rule: String,
    /// The files: a path from the top of the repository, in which `*` matches anything but `/`, and `**` matches
    /// anything.
    pub path: String,
    pub reason: String,
    /// Where it is declared in recipients.toml.
    pub line: usize,
}

impl Allow {
    /// Whether it covers this finding.
    pub fn covers(&self, rule: &str, path: &[u8]) -> bool {
        self.rule == rule && matches(self.path.as_bytes(), path)
    }
}

/// Whether a path matches a pattern. The time is at most proportional to the product of their lengths.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    // A pattern for a folder matches everything in it.
    let folder = pattern.ends_with(b"/");
    // `reached[n]`: the first n bytes of the path match the pattern so far.
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
}
