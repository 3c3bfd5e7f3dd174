//! Applies changes to the text of a Nix file, and shows the lines before and after without revealing values.

use std::ops::Range;

use rnix::SyntaxKind::{NODE_ATTRPATH, NODE_STRING, TOKEN_COMMENT, TOKEN_STRING_CONTENT, TOKEN_URI};
use rnix::{NodeOrToken, SyntaxNode};

use crate::domain::nix::guard::{Unread, line_of};
use crate::domain::nix::syntax;

/// The replacement for what is not shown.
pub const HIDDEN: &str = "…";

/// A range of bytes, and its new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    pub range: Range<usize>,
    pub with: String,
}

/// The text after the changes, and how to show them.
#[derive(Debug)]
pub struct Edited {
    pub text: String,
    /// The changed lines, before and after, without values.
    pub shown: Vec<String>,
}

/// Applies changes to a text with this tree; returns the tree of the new text as well. The changes must not overlap.
pub fn carry_out(text: &str, tree: &SyntaxNode, mut changes: Vec<Replacement>) -> Result<(Edited, SyntaxNode), Unread> {
    changes.sort_by_key(|change| change.range.start);
    let mut new = String::with_capacity(text.len() + 256);
    let (mut at, mut written, mut blocks) = (0, Vec::new(), Vec::new());
    for change in &changes {
        new.push_str(text.get(at..change.range.start).unwrap_or_default());
        let begun = new.len();
        new.push_str(&change.with);
        at = change.range.end;
        written.push(begun..new.len());
        blocks.push((change.range.clone(), begun..new.len()));
    }
    new.push_str(text.get(at..).unwrap_or_default());
    let new_tree = syntax::tree(&new)?;
    let (before, after) = (masked(tree, &[]), masked(&new_tree, &written));
    let mut shown = Vec::new();
    for (old, new_lines) in lines_of(text, &new, &blocks) {
        let block = |masked: &str, sign: char, lines: &Range<usize>| -> Vec<String> {
            let lines = masked.split('\n').enumerate().skip(lines.start - 1).take(lines.len());
            lines.map(|(at, line)| format!("{sign} {:>4} {line}", at + 1)).collect()
        };
        shown.extend(block(&before, '-', &old));
        shown.extend(block(&after, '+', &new_lines));
    }
    Ok((Edited { text: new, shown }, new_tree))
}

/// The lines of each change, before and after, from 1; changes that share a line are merged.
fn lines_of(text: &str, new: &str, blocks: &[(Range<usize>, Range<usize>)]) -> Vec<(Range<usize>, Range<usize>)> {
    let lines = |text: &str, bytes: &Range<usize>| {
        // A change of whole lines ends before the next line begins.
        let whole = bytes.end > bytes.start && text.as_bytes().get(bytes.end - 1) == Some(&b'\n');
        let last = line_of(text, if whole { bytes.end - 1 } else { bytes.end });
        line_of(text, bytes.start)..last + 1
    };
    let mut all: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for (old, written) in blocks {
        let removed = written.is_empty() && text.as_bytes().get(old.end.wrapping_sub(1)) == Some(&b'\n');
        let (old, mut written) = (lines(text, old), lines(new, written));
        if removed {
            written.end = written.start;
        }
        match all.last_mut() {
            Some(last) if old.start < last.0.end => {
                last.0.end = last.0.end.max(old.end);
                last.1.end = last.1.end.max(written.end);
            }
            _ => all.push((old, written)),
        }
    }
    all
}

/// The text with the content of all strings and comments hidden, with the same line breaks. Attribute names and what
/// lies in `plain` are not hidden.
pub fn masked(root: &SyntaxNode, plain: &[Range<usize>]) -> String {
    let mut masked = String::with_capacity(root.text().len().into());
    for token in root.descendants_with_tokens().filter_map(NodeOrToken::into_token) {
        let place: Range<usize> = token.text_range().into();
        let ours = plain.iter().any(|part| part.start <= place.start && place.end <= part.end);
        let hidden = match token.kind() {
            TOKEN_COMMENT | TOKEN_URI => true,
            TOKEN_STRING_CONTENT => !token.parent().is_some_and(|string| is_name(&string)),
            _ => false,
        };
        if ours || !hidden {
            masked.push_str(token.text());
            continue;
        }
        masked.push_str(if token.kind() == TOKEN_COMMENT { "# " } else { "" });
        masked.push_str(HIDDEN);
        masked.extend(token.text().chars().filter(|letter| *letter == '\n'));
    }
    masked
}

/// Whether a string is a name in an attribute path.
fn is_name(string: &SyntaxNode) -> bool {
    string.kind() == NODE_STRING && string.parent().is_some_and(|parent| parent.kind() == NODE_ATTRPATH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_string_and_no_comment_is_shown() {
        let text = "{ a.\"b c\" = \"secret ${x}\"; # a secret\n d = ''\n  secret\n  more\n''; /* secret\n */ e = 1; }";
        let masked = masked(&syntax::tree(text).unwrap(), &[]);
        assert!(!masked.contains("secret") && masked.contains("\"b c\"") && masked.contains("${x}"), "{masked}");
        assert_eq!(masked.lines().count(), text.lines().count(), "{masked}");
    }
}
