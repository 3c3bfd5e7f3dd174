//! Walks the syntax tree of Nix source and tracks which option is being defined: through nested sets, dotted and quoted
//! paths, `mkIf` and the like, lists, `let`. Never deeper than `guard` admits; visits each node once.

use std::collections::HashMap;
use std::ops::Range;

use rnix::SyntaxKind::{
    NODE_APPLY, NODE_ASSERT, NODE_ATTR_SET, NODE_ATTRPATH, NODE_ATTRPATH_VALUE, NODE_BIN_OP, NODE_IDENT,
    NODE_IDENT_PARAM, NODE_IF_ELSE, NODE_INHERIT, NODE_INHERIT_FROM, NODE_INTERPOL, NODE_LAMBDA, NODE_LEGACY_LET,
    NODE_LET_IN, NODE_LIST, NODE_PAREN, NODE_PATH_ABS, NODE_PATH_HOME, NODE_PATH_REL, NODE_PATTERN, NODE_ROOT,
    NODE_SELECT, NODE_STRING, NODE_WITH, TOKEN_CONCAT, TOKEN_REC, TOKEN_STRING_CONTENT, TOKEN_UPDATE,
};
use rnix::{NodeOrToken, SyntaxNode};

use crate::domain::nix::finding::{NixFinding, NixRule, names_a_secret};
use crate::domain::nix::judge::{self, Known};
use crate::domain::nix::syntax::{ANY, arguments, call, entry, last_word, range, raw, words};

/// The maximum number of entries of bound sets that are searched for one file, so that no file takes quadratic time.
const FUEL: usize = 200_000;

/// Finds everything in one tree.
pub fn walk(text: &str, root: &SyntaxNode) -> Vec<NixFinding> {
    let mut walk = Walk { path: Vec::new(), site: None, scopes: Vec::new(), fuel: FUEL, found: Vec::new() };
    walk.expression(root);
    let ends: Vec<usize> = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    for found in &mut walk.found {
        found.line = ends.partition_point(|end| *end < found.span.start) + 1;
    }
    walk.found.sort_by_key(|found| (found.span.start, found.site.start));
    walk.found
}

struct Walk {
    path: Vec<String>,
    site: Option<Range<usize>>,
    /// The bindings of `let`, `rec` and arguments, innermost last; `None`: the value is unknown.
    scopes: Vec<HashMap<String, Option<SyntaxNode>>>,
    fuel: usize,
    found: Vec<NixFinding>,
}

impl Walk {
    /// Visits a node that is not part of the value of the enclosing option.
    fn apart(&mut self, node: &SyntaxNode) {
        let path = std::mem::take(&mut self.path);
        self.expression(node);
        self.path = path;
    }

    fn below(&mut self, word: &str, node: &SyntaxNode) {
        self.path.push(word.to_owned());
        self.expression(node);
        self.path.pop();
    }

    fn expression(&mut self, node: &SyntaxNode) {
        let mut parts = node.children();
        match node.kind() {
            NODE_ROOT | NODE_PAREN => parts.for_each(|part| self.expression(&part)),
            NODE_ATTR_SET | NODE_LEGACY_LET => {
                let recursive =
                    node.children_with_tokens().any(|part| part.kind() == TOKEN_REC || node.kind() == NODE_LEGACY_LET);
                if recursive {
                    self.scopes.push(bindings(node));
                }
                parts.for_each(|part| self.entry(&part));
                if recursive {
                    self.scopes.pop();
                }
            }
            NODE_LET_IN => {
                self.scopes.push(bindings(node));
                for part in parts {
                    match part.kind() {
                        NODE_ATTRPATH_VALUE | NODE_INHERIT => {
                            let path = std::mem::take(&mut self.path);
                            self.entry(&part);
                            self.path = path;
                        }
                        _ => self.expression(&part),
                    }
                }
                self.scopes.pop();
            }
            NODE_LAMBDA => {
                let depth = self.scopes.len();
                for part in parts {
                    match part.kind() {
                        NODE_IDENT_PARAM | NODE_PATTERN => {
                            for default in part.children().filter_map(|entry| entry.children().nth(1)) {
                                self.apart(&default);
                            }
                            self.scopes.push(arguments(&part).into_iter().map(|name| (name, None)).collect());
                        }
                        _ => self.expression(&part),
                    }
                }
                self.scopes.truncate(depth);
            }
            NODE_WITH | NODE_ASSERT => {
                if let (Some(head), Some(body)) = (parts.next(), parts.next()) {
                    self.apart(&head);
                    self.expression(&body);
                }
            }
            NODE_IF_ELSE => {
                if let Some(condition) = parts.next() {
                    self.apart(&condition);
                }
                parts.for_each(|part| self.expression(&part));
            }
            NODE_LIST => parts.for_each(|part| self.below(ANY, &part)),
            NODE_BIN_OP => {
                let merges =
                    node.children_with_tokens().any(|part| part.kind() == TOKEN_UPDATE || part.kind() == TOKEN_CONCAT);
                parts.for_each(|part| if merges { self.expression(&part) } else { self.apart(&part) });
            }
            NODE_APPLY => self.call(node),
            NODE_SELECT => self.select(node),
            NODE_STRING => match raw(node) {
                Some(text) => self.literal(range(node), &text),
                // `"${pkgs.writeText …}"`: treated as the call inside it.
                None if only_call(node).is_some() => only_call(node).iter().for_each(|call| self.call(call)),
                None => node
                    .children()
                    .filter(|part| part.kind() == NODE_INTERPOL)
                    .filter_map(|part| part.first_child())
                    .for_each(|inner| self.apart(&inner)),
            },
            NODE_IDENT => {
                if let Some(bound) = self.resolve(&node.text().to_string()) {
                    self.bound(&bound);
                }
            }
            NODE_PATH_REL | NODE_PATH_ABS | NODE_PATH_HOME => self.path_literal(node),
            _ => parts.for_each(|part| self.apart(&part)),
        }
    }

    fn entry(&mut self, node: &SyntaxNode) {
        let around = self.site.replace(range(node));
        if let Some((path, value)) = entry(node) {
            let words = words(&path);
            let depth = self.path.len();
            self.path.extend(words);
            self.expression(&value);
            self.path.truncate(depth);
        } else if node.kind() == NODE_INHERIT && !node.children().any(|part| part.kind() == NODE_INHERIT_FROM) {
            for name in node.children().map(|name| name.text().to_string()) {
                if let Some(bound) = self.resolve(&name) {
                    self.path.push(name);
                    self.bound(&bound);
                    self.path.pop();
                }
            }
        } else {
            node.children()
                .filter(|part| part.kind() == NODE_INHERIT_FROM)
                .filter_map(|part| part.first_child())
                .for_each(|inner| self.apart(&inner));
        }
        self.site = around;
    }

    /// The value of a name, if it is a literal or a file made from one, at the option where the name is used.
    fn bound(&mut self, node: &SyntaxNode) {
        let makes = |node: &SyntaxNode| {
            let name = last_word(&call(node).0);
            name.is_some_and(|name| ["writeText", "toFile", "writeTextFile"].contains(&name.as_str()))
        };
        if let Some(text) = raw(node) {
            self.literal(range(node), &text);
        } else if node.kind() == NODE_APPLY && makes(node) {
            self.call(node);
        }
    }

    fn select(&mut self, node: &SyntaxNode) {
        let mut parts = node.children();
        let (Some(head), Some(path)) = (parts.next(), parts.next()) else { return };
        if head.kind() == NODE_IDENT {
            let set = self.resolve(&head.text().to_string()).filter(|set| set.kind() == NODE_ATTR_SET);
            if let Some(value) = set.and_then(|set| self.member(&set, &words(&path))) {
                self.bound(&value);
            }
        } else {
            self.apart(&head);
        }
        if let Some(fallback) = parts.next() {
            self.expression(&fallback);
        }
    }

    /// The value at a path in a set.
    fn member(&mut self, set: &SyntaxNode, path: &[String]) -> Option<SyntaxNode> {
        for part in set.children() {
            self.fuel = self.fuel.checked_sub(1)?;
            let Some((name, value)) = entry(&part) else { continue };
            let Some(rest) = path.strip_prefix(words(&name).as_slice()) else { continue };
            match value.kind() {
                _ if rest.is_empty() => return Some(value),
                NODE_ATTR_SET => return self.member(&value, rest),
                _ => return None,
            }
        }
        None
    }

    /// The value of a name, following other names.
    fn resolve(&self, name: &str) -> Option<SyntaxNode> {
        let mut node = self.scopes.iter().rev().find_map(|scope| scope.get(name)).cloned()??;
        for _ in 0..8 {
            match node.kind() {
                NODE_PAREN => node = node.first_child()?,
                NODE_IDENT => {
                    let name = node.text().to_string();
                    node = self.scopes.iter().rev().find_map(|scope| scope.get(&name)).cloned()??;
                }
                _ => return Some(node),
            }
        }
        None
    }

    fn call(&mut self, node: &SyntaxNode) {
        let (head, arguments) = call(node);
        let name = last_word(&head).unwrap_or_default();
        match name.as_str() {
            "readFile" | "fileContents" | "importJSON" | "importTOML" => {
                if let [file] = arguments.as_slice() {
                    self.read(node, file);
                    return;
                }
            }
            "pathExists" | "baseNameOf" | "dirOf" => return,
            "writeText" | "toFile" => {
                if let [_, content] = arguments.as_slice() {
                    self.made_file(node, content);
                }
            }
            "writeTextFile" => {
                let text = arguments.first().filter(|set| set.kind() == NODE_ATTR_SET);
                let text = text.and_then(|set| self.member(set, &["text".to_owned()]));
                if let Some(text) = text {
                    self.made_file(node, &text);
                }
            }
            "mkMerge" => {
                for argument in &arguments {
                    let items = argument.kind() == NODE_LIST;
                    if items {
                        argument.children().for_each(|item| self.expression(&item));
                    } else {
                        self.expression(argument);
                    }
                }
                return;
            }
            "mkIf" | "mkForce" | "mkDefault" | "mkOverride" | "mkVMOverride" | "mkOptionDefault" | "mkBefore"
            | "mkAfter" | "mkOrder" | "optionalAttrs" | "optional" | "optionals" | "optionalString" | "trim"
            | "toString" => {
                if let Some((last, others)) = arguments.split_last() {
                    others.iter().for_each(|other| self.apart(other));
                    self.expression(last);
                }
                return;
            }
            "recursiveUpdate" => {
                arguments.iter().for_each(|argument| self.expression(argument));
                return;
            }
            "genAttrs" | "mapAttrs" => {
                for argument in &arguments {
                    let made = argument.kind() == NODE_LAMBDA
                        || argument.first_child().is_some_and(|inner| inner.kind() == NODE_LAMBDA);
                    if made { self.below(ANY, argument) } else { self.apart(argument) }
                }
                return;
            }
            _ => {}
        }
        if name.is_empty() {
            self.apart(&head);
        }
        arguments.iter().for_each(|argument| self.apart(argument));
    }

    /// A file whose content is read during evaluation.
    fn read(&mut self, call: &SyntaxNode, file: &SyntaxNode) {
        let mut file = file.clone();
        loop {
            let inner = match file.kind() {
                NODE_PAREN => file.first_child(),
                // `./. + "/name"`: the last part names the file.
                NODE_BIN_OP => file.children().last(),
                _ => None,
            };
            match inner {
                Some(inner) => file = inner,
                None => break,
            }
        }
        let secret = match file.kind() {
            NODE_SELECT => {
                let path = file.children().find(|part| part.kind() == NODE_ATTRPATH).map(|path| words(&path));
                path.is_some_and(|path| {
                    path.iter().any(|word| word == "secrets")
                        && path.iter().any(|word| ["age", "sops", "sealift", "vaultix"].contains(&word.as_str()))
                })
            }
            NODE_STRING => {
                let tail = file.children_with_tokens().filter_map(NodeOrToken::into_token);
                let tail = tail.filter(|token| token.kind() == TOKEN_STRING_CONTENT).last();
                tail.is_some_and(|token| names_a_secret(token.text()))
            }
            NODE_PATH_REL | NODE_PATH_ABS | NODE_PATH_HOME => names_a_secret(&file.text().to_string()),
            _ => false,
        };
        if secret {
            self.add(NixRule::ReadSecret, range(call), None);
        } else {
            self.apart(&file);
        }
    }

    fn path_literal(&mut self, node: &SyntaxNode) {
        if let Some(rule) = judge::path(&self.words(), &node.text().to_string()) {
            self.add(rule, range(node), None);
        }
    }

    /// A literal at the current option.
    fn literal(&mut self, span: Range<usize>, text: &str) {
        if let Some((rule, known)) = judge::literal(&self.words(), text) {
            self.add(rule, span, known);
        }
    }

    /// A file that Nix makes from a literal, for an option that takes the path of a secret's file.
    fn made_file(&mut self, call: &SyntaxNode, literal: &SyntaxNode) {
        if let Some((rule, known)) = raw(literal).and_then(|text| judge::made_file(&self.words(), &text)) {
            self.add(rule, range(literal), known);
            if let Some(found) = self.found.last_mut() {
                found.call = Some(range(call));
            }
        }
    }

    fn words(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    fn add(&mut self, rule: NixRule, span: Range<usize>, known: Option<Known>) {
        let site = self.site.clone().unwrap_or_else(|| span.clone());
        let (known, stars) = known.map_or((None, Vec::new()), |(row, stars)| (Some(row), stars));
        self.found.push(NixFinding { rule, line: 0, span, call: None, site, option: self.path.clone(), known, stars });
    }
}

/// The call that is the entire content of a string.
fn only_call(node: &SyntaxNode) -> Option<SyntaxNode> {
    let written = |part: &NodeOrToken<_, rnix::SyntaxToken>| part.kind() == TOKEN_STRING_CONTENT;
    let mut parts = node.children();
    let mut inner = parts.next().filter(|part| part.kind() == NODE_INTERPOL)?.first_child()?;
    while inner.kind() == NODE_PAREN {
        inner = inner.first_child()?;
    }
    let only = parts.next().is_none() && !node.children_with_tokens().any(|part| written(&part));
    Some(inner).filter(|inner| only && inner.kind() == NODE_APPLY)
}

/// The bindings of a `let` or a `rec`; `None` for a name that is only bound by a dotted path.
fn bindings(node: &SyntaxNode) -> HashMap<String, Option<SyntaxNode>> {
    let mut bound = HashMap::new();
    for (path, value) in node.children().filter_map(|part| entry(&part)) {
        let mut names = words(&path);
        if let (Some(name), true) = (names.pop(), names.is_empty()) {
            bound.insert(name, Some(value));
        } else if let Some(first) = words(&path).into_iter().next() {
            bound.entry(first).or_insert(None);
        }
    }
    bound
}
