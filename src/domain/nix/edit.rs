//! Gives an option its secret from a file instead of inline: the one expression is replaced, everything else stays to the
//! letter. What is not understood is refused, with the reason and what to write instead.

use std::ops::Range;

use rnix::SyntaxKind::{
    NODE_ASSERT, NODE_ATTR_SET, NODE_ATTRPATH, NODE_ATTRPATH_VALUE, NODE_IDENT, NODE_IDENT_PARAM, NODE_INHERIT,
    NODE_LAMBDA, NODE_LEGACY_LET, NODE_LET_IN, NODE_LIST, NODE_PAREN, NODE_PAT_BIND, NODE_PAT_ENTRY, NODE_PATTERN,
    NODE_ROOT, NODE_STRING, NODE_WITH, TOKEN_COMMENT, TOKEN_L_BRACE, TOKEN_REC,
};
use rnix::{NodeOrToken, SyntaxNode, TextRange, TextSize};

use crate::domain::name::SecretName;
use crate::domain::nix::finding::Found;
use crate::domain::nix::guard::{self, line_of};
use crate::domain::nix::redact::{Change, Edited, carry_out};
use crate::domain::nix::rules;
use crate::domain::nix::syntax::{arguments, entry, range, words};
use crate::error::{Error, Result};

/// What is written for the inline value.
pub struct Wanted<'a> {
    /// The option that takes a file.
    pub twin: &'a str,
    /// What stands before the path in its value, and behind it.
    pub around: (&'a str, &'a str),
    /// The secret.
    pub secret: &'a SecretName,
}

/// Where the path of a secret is found in NixOS' configuration.
pub fn path_of(secret: &SecretName) -> String {
    let plain = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !["if", "then", "else", "assert", "with", "let", "in", "rec", "inherit", "or"].contains(&word)
    };
    let name = secret.as_str();
    if plain(name) {
        format!("config.sealift.secrets.{name}.path")
    } else {
        format!("config.sealift.secrets.\"{name}\".path")
    }
}

/// Rewrites one finding.
///
/// # Errors
/// When the place is written in a form that is not understood; nothing is guessed.
pub fn adopt(text: &str, found: &Found, wanted: &Wanted<'_>) -> Result<Edited> {
    let root = parsed(text)?;
    let site = node_at(&root, &found.site).ok_or_else(|| odd(text, found, "the entry is not found again"))?;
    if site.kind() == NODE_INHERIT {
        return Err(
            odd(text, found, "the option is given by `inherit`").hint("write `NAME = …;` for it, then run this again")
        );
    }
    let (path, _) = entry(&site).ok_or_else(|| odd(text, found, "it is not written as `NAME = …;`"))?;
    if found.option.iter().any(|word| word == "containers" || word == "microvm") {
        return Err(odd(text, found, "it is in a container, where `config` is another machine's")
            .hint("seal it for the machine itself, and hand the delivered file to the container by a bind mount"));
    }
    let name = path.children().last().filter(|name| matches!(name.kind(), NODE_IDENT | NODE_STRING));
    let name = name.ok_or_else(|| odd(text, found, "the option's name is computed"))?;
    if twin_is_there(&site, &path, wanted.twin) {
        return Err(
            odd(text, found, &format!("{} is given beside it already", wanted.twin)).hint("take one of the two away")
        );
    }
    let new = path_of(wanted.secret);
    let (before, after) = wanted.around;
    let new = if before.is_empty() && after.is_empty() { new } else { format!("\"{before}${{{new}}}{after}\"") };
    let mut changes = vec![Change { range: range(&name), with: wanted.twin.to_owned() }];
    if found.site.start <= found.span.start && found.span.end <= found.site.end {
        changes.push(Change { range: found.span.clone(), with: new });
    } else {
        changes.extend(bound(text, &root, &site, found, new)?);
    }
    changes.extend(config_in_scope(text, &site, found)?);
    let edited = carry_out(text, changes);
    let unchanged = |what| odd(text, found, what).hint("change it by hand: `sealift seal`, then the option");
    let left = rules::look(&edited.text).map_err(|_| unchanged("what would be written is not Nix"))?;
    if left.len() >= rules::look(text).map_or(0, |found| found.len()) {
        return Err(unchanged("the value would still be there"));
    }
    Ok(edited)
}

fn odd(text: &str, found: &Found, what: &str) -> Error {
    let line = line_of(text, found.span.start);
    Error::usage(format!("line {line}, {}: {what}", found.option()))
}

fn parsed(text: &str) -> Result<SyntaxNode> {
    guard::admit(text).map_err(|unread| Error::usage(unread.to_string()))?;
    Ok(rnix::Root::parse(text).syntax())
}

fn node_at(root: &SyntaxNode, place: &Range<usize>) -> Option<SyntaxNode> {
    let at = |at: usize| TextSize::try_from(at).ok();
    let covering = root.covering_element(TextRange::new(at(place.start)?, at(place.end)?));
    let node = match covering {
        NodeOrToken::Node(node) => node,
        NodeOrToken::Token(token) => token.parent()?,
    };
    // The innermost comes first; an entry and its set may be one in length only if the set has no braces.
    node.ancestors().find(|node| range(node) == *place)
}

/// Whether the twin is given in the same set, by the same path.
fn twin_is_there(site: &SyntaxNode, path: &SyntaxNode, twin: &str) -> bool {
    let mut wanted = words(path);
    let same = wanted.pop().is_some_and(|name| name == twin);
    wanted.push(twin.to_owned());
    let set = site.parent();
    let mut entries = set.iter().flat_map(SyntaxNode::children).filter_map(|other| entry(&other));
    !same && entries.any(|(path, _)| words(&path) == wanted)
}

/// The changes for a literal that a `let` binds: the name is replaced where it is used, and its binding goes.
fn bound(text: &str, root: &SyntaxNode, site: &SyntaxNode, found: &Found, new: String) -> Result<[Change; 2]> {
    let odd =
        |what: &str| odd(text, found, what).hint("write the literal where the option is given, then run this again");
    let literal = node_at(root, &found.span).ok_or_else(|| odd("the literal is not found again"))?;
    let binding = literal.ancestors().skip(1).find(|node| node.kind() != NODE_PAREN);
    let binding = binding.filter(|node| node.kind() == NODE_ATTRPATH_VALUE);
    let scope = binding.as_ref().and_then(SyntaxNode::parent).filter(|scope| scope.kind() == NODE_LET_IN);
    let (Some(binding), Some(scope)) = (binding, scope) else {
        return Err(odd("the literal comes from a set that is bound elsewhere in the file"));
    };
    let name = entry(&binding).map(|(path, _)| words(&path).join(".")).unwrap_or_default();
    let uses: Vec<SyntaxNode> =
        scope.descendants().filter(|node| node.kind() == NODE_IDENT && is_use(node, &name)).collect();
    let [only] = uses.as_slice() else {
        let lines: Vec<String> = uses.iter().map(|node| line_of(text, range(node).start).to_string()).collect();
        return Err(odd(&format!("`{name}` is used more than once: lines {}", lines.join(", "))));
    };
    if !only.ancestors().any(|above| above == *site) {
        return Err(odd(&format!("the literal comes by way of `{name}`")));
    }
    // The last binding takes its `let` along, unless somebody wrote a comment there.
    let alone = scope.children().filter(|part| matches!(part.kind(), NODE_ATTRPATH_VALUE | NODE_INHERIT)).count() == 1;
    let comments = scope.children_with_tokens().any(|part| part.kind() == TOKEN_COMMENT);
    let gone = match scope.children().last() {
        Some(body) if alone && !comments => range(&scope).start..range(&body).start,
        _ => whole_line(text, range(&binding)),
    };
    Ok([Change { range: range(only), with: new }, Change { range: gone, with: String::new() }])
}

/// Whether this is the name as an expression, or as a word of an `inherit`.
fn is_use(node: &SyntaxNode, name: &str) -> bool {
    let names = node.parent().is_some_and(|parent| {
        matches!(parent.kind(), NODE_ATTRPATH | NODE_IDENT_PARAM | NODE_PAT_BIND)
            || parent.kind() == NODE_PAT_ENTRY && parent.first_child().as_ref() == Some(node)
    });
    !names && node.text() == name
}

/// The lines that hold nothing but this, or just this.
fn whole_line(text: &str, inner: Range<usize>) -> Range<usize> {
    let before = text.get(..inner.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = text.get(inner.end..).and_then(|rest| rest.find('\n')).map(|at| inner.end + at + 1);
    let blank = |range: Range<usize>| text.get(range).is_some_and(|part| part.trim().is_empty());
    match end {
        Some(end) if blank(start..inner.start) && blank(inner.end..end) => start..end,
        _ => inner,
    }
}

/// What has to be added so that `config` means the machine's configuration at this place; none: it does already.
fn config_in_scope(text: &str, site: &SyntaxNode, found: &Found) -> Result<Option<Change>> {
    let odd = |what: &str| {
        odd(text, found, what)
            .hint("make the module a function that takes it: `{ config, ... }: { … }`, then run this again")
    };
    let mut takes_more = None;
    for above in site.ancestors() {
        match above.kind() {
            NODE_LAMBDA => {
                let head = above.first_child();
                let names = head.as_ref().map(arguments).unwrap_or_default();
                let module = is_module(&above);
                if names.iter().any(|name| name == "config") {
                    return if module { Ok(None) } else { Err(odd("`config` is another one here")) };
                }
                let pattern = head.filter(|head| head.kind() == NODE_PATTERN);
                let of_a_flake = names.iter().any(|name| name == "self" || name == "nixpkgs");
                if module && !of_a_flake && takes_more.is_none() {
                    takes_more = pattern;
                }
            }
            NODE_LET_IN | NODE_LEGACY_LET | NODE_ATTR_SET => {
                let binds =
                    above.kind() != NODE_ATTR_SET || above.children_with_tokens().any(|part| part.kind() == TOKEN_REC);
                let named = |node: SyntaxNode| match node.kind() {
                    NODE_INHERIT => node.children().any(|name| name.text() == "config"),
                    _ => {
                        entry(&node).is_some_and(|(path, _)| words(&path).first().is_some_and(|word| word == "config"))
                    }
                };
                if binds && above.children().any(named) {
                    return Err(odd("`config` is bound anew here"));
                }
            }
            NODE_ROOT if takes_more.is_none() => {
                return around_the_file(&above).map(Some).ok_or_else(|| odd("`config` is not in scope"));
            }
            _ => {}
        }
    }
    let pattern = takes_more.ok_or_else(|| odd("`config` is not in scope"))?;
    one_more_argument(text, &pattern).map(Some).ok_or_else(|| odd("the function takes no arguments"))
}

/// Whether a function is a module of the machine's configuration, and not one of an option that takes modules itself.
fn is_module(lambda: &SyntaxNode) -> bool {
    for above in lambda.ancestors().skip(1) {
        match above.kind() {
            NODE_ROOT => return true,
            NODE_PAREN | NODE_LIST | NODE_LET_IN | NODE_WITH | NODE_ASSERT => {}
            NODE_ATTRPATH_VALUE => {
                let last = entry(&above).and_then(|(path, _)| words(&path).pop());
                return last.is_some_and(|word| ["imports", "modules", "extraModules"].contains(&word.as_str()));
            }
            _ => return false,
        }
    }
    false
}

/// A file that is a plain set becomes a function.
fn around_the_file(root: &SyntaxNode) -> Option<Change> {
    let mut inner = root.first_child()?;
    let start = range(&inner).start;
    while matches!(inner.kind(), NODE_LET_IN | NODE_WITH | NODE_ASSERT) {
        inner = inner.children().last()?;
    }
    let a_flake = inner.children().filter_map(|part| entry(&part)).any(|(path, _)| words(&path) == ["outputs"]);
    let plain = inner.kind() == NODE_ATTR_SET && !a_flake;
    plain.then(|| Change { range: start..start, with: "{ config, ... }:\n".to_owned() })
}

/// `config` as the first argument of a function, written as the others are.
fn one_more_argument(text: &str, pattern: &SyntaxNode) -> Option<Change> {
    let brace = pattern.children_with_tokens().find(|part| part.kind() == TOKEN_L_BRACE)?;
    let open = usize::from(brace.text_range().end());
    let rest = text.get(open..)?;
    let space = rest.get(..rest.len() - rest.trim_start().len())?;
    if rest.trim_start().starts_with('}') {
        return None;
    }
    let with = if space.is_empty() { "config, ".to_owned() } else { format!("{space}config,") };
    Some(Change { range: open..open, with })
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
