//! What to add to a file so that `config` refers to the machine's configuration at some place.

use rnix::SyntaxKind::{
    NODE_ASSERT, NODE_ATTR_SET, NODE_ATTRPATH_VALUE, NODE_INHERIT, NODE_LAMBDA, NODE_LEGACY_LET, NODE_LET_IN,
    NODE_LIST, NODE_PAREN, NODE_PATTERN, NODE_ROOT, NODE_WITH, TOKEN_L_BRACE, TOKEN_REC,
};
use rnix::SyntaxNode;

use crate::domain::nix::finding::NixFinding;
use crate::domain::nix::guard::line_of;
use crate::domain::nix::redact::Replacement;
use crate::domain::nix::syntax::{arguments, entry, range, words};
use crate::error::{Error, Result};

/// What to add so that `config` refers to the machine's configuration at this place; `None` if it does already.
pub(super) fn config_in_scope(text: &str, site: &SyntaxNode, found: &NixFinding) -> Result<Option<Replacement>> {
    let odd = |what: &str| {
        odd(text, found, what)
            .help("make the module a function that takes it: `{ config, ... }: { … }`, then run this again")
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
                    return Err(odd("`config` is bound again here"));
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

/// Whether a function is a module of the machine's configuration, and not one for an option that takes modules itself.
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

/// Turns a file that is a plain set into a function.
fn around_the_file(root: &SyntaxNode) -> Option<Replacement> {
    let mut inner = root.first_child()?;
    let start = range(&inner).start;
    while matches!(inner.kind(), NODE_LET_IN | NODE_WITH | NODE_ASSERT) {
        inner = inner.children().last()?;
    }
    let a_flake = inner.children().filter_map(|part| entry(&part)).any(|(path, _)| words(&path) == ["outputs"]);
    let plain = inner.kind() == NODE_ATTR_SET && !a_flake;
    plain.then(|| Replacement { range: start..start, with: "{ config, ... }:\n".to_owned() })
}

/// Adds `config` as the first argument of a function, in the style of the others.
fn one_more_argument(text: &str, pattern: &SyntaxNode) -> Option<Replacement> {
    let brace = pattern.children_with_tokens().find(|part| part.kind() == TOKEN_L_BRACE)?;
    let open = usize::from(brace.text_range().end());
    let rest = text.get(open..)?;
    let space = rest.get(..rest.len() - rest.trim_start().len())?;
    if rest.trim_start().starts_with('}') {
        return None;
    }
    let with = if space.is_empty() { "config, ".to_owned() } else { format!("{space}config,") };
    Some(Replacement { range: open..open, with })
}

/// The error for refusing a finding, with its line and option.
pub(super) fn odd(text: &str, found: &NixFinding, what: &str) -> Error {
    let line = line_of(text, found.span.start);
    Error::usage(format!("line {line}, {}: {what}", found.option()))
}
