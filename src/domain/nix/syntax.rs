//! Helpers for the syntax tree of Nix source: the names of a path, the entries of a set, the arguments of a call.

use std::ops::Range;

use rnix::SyntaxKind::{
    NODE_APPLY, NODE_ATTRPATH, NODE_ATTRPATH_VALUE, NODE_DYNAMIC, NODE_IDENT, NODE_PAT_BIND, NODE_PAT_ENTRY,
    NODE_SELECT, NODE_STRING, TOKEN_STRING_CONTENT,
};
use rnix::{NodeOrToken, ParseError, SyntaxNode};

use crate::domain::nix::guard::{self, Unread, line_of};

/// A computed name in a path.
pub const ANY: &str = "*";

/// The syntax tree of a text, if it is valid Nix. Parsing is expensive: callers that need the tree twice keep it.
pub fn tree(text: &str) -> Result<SyntaxNode, Unread> {
    guard::admit(text)?;
    let parse = rnix::Root::parse(text);
    match parse.errors().first() {
        None => Ok(parse.syntax()),
        Some(fault) => Err(unread(text, fault)),
    }
}

/// Converts an error of the parser.
pub fn unread(text: &str, fault: &ParseError) -> Unread {
    let at = match fault {
        ParseError::Unexpected(at)
        | ParseError::UnexpectedExtra(at)
        | ParseError::UnexpectedWanted(_, at, _)
        | ParseError::UnexpectedDoubleBind(at)
        | ParseError::DuplicatedArgs(at, _) => usize::from(at.start()),
        _ => text.len(),
    };
    match fault {
        ParseError::RecursionLimitExceeded => Unread::Deep(line_of(text, at)),
        _ => Unread::Syntax(line_of(text, at)),
    }
}

/// The byte range of a node.
pub fn range(node: &SyntaxNode) -> Range<usize> {
    node.text_range().into()
}

/// The names of an attribute path; `*` for computed ones.
pub fn words(attrpath: &SyntaxNode) -> Vec<String> {
    attrpath
        .children()
        .map(|attribute| match attribute.kind() {
            NODE_IDENT => attribute.text().to_string(),
            NODE_STRING => raw(&attribute).unwrap_or_else(|| ANY.to_owned()),
            NODE_DYNAMIC => attribute.first_child().and_then(|inner| raw(&inner)).unwrap_or_else(|| ANY.to_owned()),
            _ => ANY.to_owned(),
        })
        .collect()
}

/// The source text between the quotes of a string without interpolation.
pub fn raw(node: &SyntaxNode) -> Option<String> {
    if node.kind() != NODE_STRING {
        return None;
    }
    let mut text = String::new();
    for part in node.children_with_tokens() {
        match part {
            NodeOrToken::Node(_) => return None,
            NodeOrToken::Token(token) if token.kind() == TOKEN_STRING_CONTENT => text.push_str(token.text()),
            NodeOrToken::Token(_) => {}
        }
    }
    Some(text)
}

/// The function and the arguments of a call.
pub fn call(node: &SyntaxNode) -> (SyntaxNode, Vec<SyntaxNode>) {
    let (mut head, mut arguments) = (node.clone(), Vec::new());
    while head.kind() == NODE_APPLY {
        let mut parts = head.children();
        let (Some(function), Some(argument)) = (parts.next(), parts.next()) else { break };
        arguments.push(argument);
        head = function;
    }
    arguments.reverse();
    (head, arguments)
}

/// The last name of an identifier or selection: `mkIf` in `lib.mkIf`.
pub fn last_word(node: &SyntaxNode) -> Option<String> {
    match node.kind() {
        NODE_IDENT => Some(node.text().to_string()),
        NODE_SELECT => words(&node.children().find(|child| child.kind() == NODE_ATTRPATH)?).pop(),
        _ => None,
    }
}

/// The path and the value of an entry `path = value;`.
pub fn entry(node: &SyntaxNode) -> Option<(SyntaxNode, SyntaxNode)> {
    let mut parts = node.children();
    (node.kind() == NODE_ATTRPATH_VALUE).then_some(())?;
    Some((parts.next()?, parts.next()?))
}

/// The names that a function's parameter binds.
pub fn arguments(head: &SyntaxNode) -> Vec<String> {
    let entries = head.children().filter(|part| matches!(part.kind(), NODE_PAT_ENTRY | NODE_PAT_BIND));
    let names = entries.filter_map(|part| part.first_child()).chain(head.first_child());
    names.filter(|name| name.kind() == NODE_IDENT).map(|name| name.text().to_string()).collect()
}
