//! Makes an option read its secret from a file instead of having it inline: only the one expression is replaced. Source
//! that is not understood is refused, with the reason and what to write instead.

use std::ops::Range;

use rnix::SyntaxKind::{
    NODE_ATTR_SET, NODE_ATTRPATH, NODE_ATTRPATH_VALUE, NODE_IDENT, NODE_IDENT_PARAM, NODE_INHERIT, NODE_LET_IN,
    NODE_LIST, NODE_PAREN, NODE_PAT_BIND, NODE_PAT_ENTRY, NODE_STRING, TOKEN_COMMENT, TOKEN_L_BRACE,
};
use rnix::{NodeOrToken, SyntaxNode, TextRange, TextSize};

use crate::domain::name::SecretName;
use crate::domain::nix::finding::NixFinding;
use crate::domain::nix::guard::line_of;
use crate::domain::nix::options::Form;
use crate::domain::nix::redact::{Edited, Replacement, carry_out};
use crate::domain::nix::scope::{config_in_scope, odd};
use crate::domain::nix::syntax::{ANY, entry, range, tree, words};
use crate::domain::nix::walk::walk;
use crate::error::{Error, Result};

/// What to write in place of the inline value.
pub struct PathSetting<'a> {
    /// The full path of the option that takes a file path, as in this file.
    pub option: &'a [String],
    /// Its value, with `%` for the path; `None` if the value is only the path.
    pub value: Option<&'a str>,
    /// Whether its value is a list.
    pub list: bool,
    pub secret: &'a SecretName,
}

impl PathSetting<'_> {
    /// The expression for the path.
    fn path(&self) -> String {
        let path = path_of(self.secret);
        match self.value.and_then(|value| value.split_once('%')) {
            Some((before, after)) => format!("\"{before}${{{path}}}{after}\""),
            None => path,
        }
    }
}

/// The path of a secret, as an expression in a NixOS configuration.
pub fn path_of(secret: &SecretName) -> String {
    format!("config.sealift.secrets.{}.path", quoted(secret.as_str()))
}

/// Rewrites one finding.
///
/// Fails if the source is in a form that is not understood; nothing is guessed.
pub fn adopt(text: &str, found: &NixFinding, wanted: &PathSetting<'_>) -> Result<Edited> {
    let root = tree(text).map_err(|unread| Error::usage(unread.to_string()))?;
    let site = node_at(&root, &found.site).ok_or_else(|| odd(text, found, "the entry is not found again"))?;
    if site.kind() == NODE_INHERIT {
        return Err(
            odd(text, found, "the option is given by `inherit`").help("write `NAME = …;` for it, then run this again")
        );
    }
    let (path, value) = entry(&site).ok_or_else(|| odd(text, found, "it is not written as `NAME = …;`"))?;
    let before = [&[String::new()], found.option.as_slice()].concat();
    let another =
        |(before, word): (&String, &String)| word == "microvm" || word == "containers" && before != "oci-containers";
    if before.iter().zip(&found.option).any(another) {
        return Err(odd(text, found, "it is in a container, where `config` is another machine's")
            .help("seal it for the machine itself, and hand the delivered file to the container by a bind mount"));
    }
    let changes = if let Some(call) = &found.call {
        let mut changes = vec![Replacement { range: call.clone(), with: wanted.path() }];
        changes.extend(config_in_scope(text, &site, found)?);
        changes
    } else {
        Move { text, root: &root, site: &site, path, value, found, wanted }.changes()?
    };
    let unchanged = |what| {
        odd(text, found, what).help(format!("change it by hand: `sealift seal {}`, then the option", wanted.secret))
    };
    let (edited, after) = carry_out(text, &root, changes).map_err(|_| unchanged("what would be written is not Nix"))?;
    if walk(&edited.text, &after).len() >= walk(text, &root).len() {
        return Err(unchanged("the value would still be there"));
    }
    Ok(edited)
}

/// Moves a literal at one option to a path at another option.
struct Move<'a> {
    text: &'a str,
    root: &'a SyntaxNode,
    /// The entry, with its name and value below.
    site: &'a SyntaxNode,
    path: SyntaxNode,
    value: SyntaxNode,
    found: &'a NixFinding,
    wanted: &'a PathSetting<'a>,
}

/// Where an option can be written, relative to a set.
enum Slot {
    /// It is already set.
    Taken(SyntaxNode),
    /// In this set, under these names.
    Free(SyntaxNode, Vec<String>),
    /// A part of its path has a value that is not a plain set.
    Closed(String),
}

impl Move<'_> {
    fn odd(&self, what: &str) -> Error {
        odd(self.text, self.found, what)
    }

    /// A refusal that says what to write by hand.
    fn by_hand(&self, what: &str) -> Error {
        let (option, path) = (self.wanted.option.join("."), self.wanted.path());
        let path = if self.wanted.list { format!("[ {path} ]") } else { path };
        self.odd(what)
            .help(format!("seal the value as {}, remove the line, and write: {option} = {path};", self.wanted.secret))
    }

    fn changes(&self) -> Result<Vec<Replacement>> {
        let own = words(&self.path);
        let name = self.path.children().last().filter(|name| matches!(name.kind(), NODE_IDENT | NODE_STRING));
        let name = name.ok_or_else(|| self.odd("the option's name is computed"))?;
        let (mut set, mut here) = self.around(self.site, &self.found.option)?;
        let written = &self.wanted.option;
        // The same option, written in another form.
        if written.strip_prefix(here.as_slice()) == Some(own.as_slice()) {
            return self.in_place(None);
        }
        let mut above = self.site.clone();
        while !written.starts_with(&here) {
            let outer = above.ancestors().skip(1).find(|node| node.kind() == NODE_ATTRPATH_VALUE);
            let outer = outer.ok_or_else(|| self.by_hand("no set around it holds the other option"))?;
            (set, here) = self.around(&outer, &here)?;
            above = outer;
        }
        let rest = written.get(here.len()..).unwrap_or_default();
        match slot(&set, rest) {
            Slot::Taken(value) => self.taken(&value),
            Slot::Closed(part) => Err(self.by_hand(&format!("{part} is not written as a plain set"))),
            Slot::Free(inner, rest) if inner == set && above == *self.site => {
                let beside = rest.len() == own.len()
                    && rest.split_last().map(|(_, folder)| folder) == own.split_last().map(|(_, folder)| folder);
                let (place, names) = match rest.split_last() {
                    Some((last, _)) if beside => (range(&name), attribute(last)),
                    _ => (range(&self.path), attributes(&rest)),
                };
                let names = names.ok_or_else(|| self.by_hand("a name in its path is computed"))?;
                self.in_place(Some(Replacement { range: place, with: names }))
            }
            Slot::Free(inner, rest) => {
                let names = attributes(&rest).ok_or_else(|| self.by_hand("a name in its path is computed"))?;
                let first = inner.children().find(|part| matches!(part.kind(), NODE_ATTRPATH_VALUE | NODE_INHERIT));
                let next = if inner == set { Some(above) } else { first };
                let new = self.moved_value()?;
                let mut changes = vec![self.gone()];
                changes.push(insertion(self.text, &inner, next.as_ref(), &format!("{names} = {new};")));
                changes.extend(config_in_scope(self.text, &inner, self.found)?);
                Ok(changes)
            }
        }
    }

    /// The set that contains an entry, and the option path of this set; `option` is the path of the entry's value.
    fn around(&self, entry_node: &SyntaxNode, option: &[String]) -> Result<(SyntaxNode, Vec<String>)> {
        let odd = || self.by_hand("the sets around it are not understood");
        let own = entry(entry_node).map(|(path, _)| words(&path)).ok_or_else(odd)?;
        let set = entry_node.parent().filter(|set| set.kind() == NODE_ATTR_SET).ok_or_else(odd)?;
        let mut option = option.to_vec();
        loop {
            if option.ends_with(&own) {
                option.truncate(option.len() - own.len());
                return Ok((set, option));
            }
            // An element of a list, or a set whose names are computed by a function.
            option.pop().filter(|word| word == ANY).ok_or_else(odd)?;
        }
    }

    /// Replaces the name and the value where they are.
    fn in_place(&self, name: Option<Replacement>) -> Result<Vec<Replacement>> {
        let (found, new) = (self.found, self.new_value());
        let mut changes: Vec<Replacement> = name.into_iter().collect();
        let literal = self.only_literal()?;
        if found.site.start <= literal.start && literal.end <= found.site.end {
            changes.push(Replacement { range: literal, with: new });
        } else {
            changes.extend(bound(self.text, self.root, self.site, found, new)?);
        }
        changes.extend(config_in_scope(self.text, self.site, found)?);
        Ok(changes)
    }

    /// The range to replace for the literal: including the list around it, if it is the only element.
    fn only_literal(&self) -> Result<Range<usize>> {
        if self.found.elements() == 0 {
            return Ok(self.found.span.clone());
        }
        let list = self.value.clone();
        let alone = list.kind() == NODE_LIST && list.children().count() == 1;
        alone
            .then(|| range(&list))
            .ok_or_else(|| self.by_hand("it is one of several in a list, which go into one file together"))
    }

    fn new_value(&self) -> String {
        let path = self.wanted.path();
        if self.wanted.list { format!("[ {path} ]") } else { path }
    }

    /// The value as written, including `mkIf` and the like, with the literal replaced.
    fn moved_value(&self) -> Result<String> {
        let (literal, value) = (self.only_literal()?, range(&self.value));
        let parts = (self.text.get(value.start..literal.start), self.text.get(literal.end..value.end));
        match parts {
            (Some(before), Some(after)) if value.start <= literal.start => {
                Ok(format!("{before}{}{after}", self.new_value()))
            }
            _ => Err(self
                .odd("the literal comes by way of a name")
                .help("write the literal where the option is given, then run this again")),
        }
    }

    fn gone(&self) -> Replacement {
        let own = range(self.site);
        let mut gone = whole_line(self.text, own.clone());
        if gone == own && self.text.get(..own.start).is_some_and(|before| before.ends_with(' ')) {
            gone.start -= 1;
        }
        Replacement { range: gone, with: String::new() }
    }

    /// The other option is already set: a list gets another element.
    fn taken(&self, value: &SyntaxNode) -> Result<Vec<Replacement>> {
        let option = self.wanted.option.last().map_or("", String::as_str);
        if self.wanted.list && value.kind() == NODE_LIST {
            self.moved_value()?;
            let end = range(value).end - 1;
            let space = if self.text.get(..end).is_some_and(|before| before.ends_with([' ', '\n'])) { "" } else { " " };
            let mut changes = vec![self.gone()];
            changes.push(Replacement { range: end..end, with: format!("{space}{} ", self.wanted.path()) });
            changes.extend(config_in_scope(self.text, value, self.found)?);
            return Ok(changes);
        }
        let given = self.odd(&format!("{option} is given beside it already"));
        let variable = self.found.known.filter(|known| known.form == Some(Form::EnvFile));
        Err(match variable.map(|known| known.shape(&self.found.stars)) {
            Some(shape) if shape.starts_with("env:") => given.help(format!(
                "add the line `{}=…` to the file that {option} names (`sealift edit NAME`), and remove this one",
                shape.trim_start_matches("env:")
            )),
            _ if self.wanted.value.is_some() => self.by_hand(&format!("{option} is given already")),
            _ => given.help("remove one of the two"),
        })
    }
}

/// Where the option with this path can be written, relative to a set.
fn slot(set: &SyntaxNode, rest: &[String]) -> Slot {
    let mut inner = None;
    for (path, value) in set.children().filter_map(|part| entry(&part)) {
        let own = words(&path);
        if own.starts_with(rest) {
            return Slot::Taken(value);
        }
        if let Some(deeper) = rest.strip_prefix(own.as_slice()) {
            if value.kind() != NODE_ATTR_SET {
                return Slot::Closed(own.join("."));
            }
            match slot(&value, deeper) {
                Slot::Free(set, rest) => inner = inner.or(Some(Slot::Free(set, rest))),
                other => return other,
            }
        }
    }
    inner.unwrap_or_else(|| Slot::Free(set.clone(), rest.to_vec()))
}

/// Inserts an entry into a set, before `before`.
fn insertion(text: &str, set: &SyntaxNode, before: Option<&SyntaxNode>, entry: &str) -> Replacement {
    let Some(next) = before else {
        let open = set.children_with_tokens().find(|part| part.kind() == TOKEN_L_BRACE);
        let at = open.map_or(range(set).start, |brace| usize::from(brace.text_range().end()));
        let space = if text.get(at..).is_some_and(|rest| rest.starts_with('}')) { " " } else { "" };
        return Replacement { range: at..at, with: format!(" {entry}{space}") };
    };
    let at = range(next).start;
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let indent = text.get(start..at).unwrap_or_default();
    let with = if indent.trim().is_empty() { format!("{entry}\n{indent}") } else { format!("{entry} ") };
    Replacement { range: at..at, with }
}

/// A name in Nix syntax; `None` if it is computed, or would need escapes.
fn attribute(word: &str) -> Option<String> {
    (word != ANY && !word.is_empty() && !word.contains(['"', '\\', '$', '\n'])).then(|| quoted(word))
}

/// A name that needs no escapes, in quotes if Nix requires them.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-'".contains(&byte);
    let bare = word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && word.bytes().all(plain);
    let keyword = ["if", "then", "else", "assert", "with", "let", "in", "rec", "inherit", "or"].contains(&word);
    if bare && !keyword { word.to_owned() } else { format!("\"{word}\"") }
}

fn attributes(words: &[String]) -> Option<String> {
    Some(words.iter().map(|word| attribute(word)).collect::<Option<Vec<_>>>()?.join("."))
}

fn node_at(root: &SyntaxNode, place: &Range<usize>) -> Option<SyntaxNode> {
    let at = |at: usize| TextSize::try_from(at).ok();
    let covering = root.covering_element(TextRange::new(at(place.start)?, at(place.end)?));
    let node = match covering {
        NodeOrToken::Node(node) => node,
        NodeOrToken::Token(token) => token.parent()?,
    };
    // The innermost node comes first. An entry and its set can only have the same range if the set has no braces.
    node.ancestors().find(|node| range(node) == *place)
}

/// The changes for a literal that a `let` binds: its use is replaced and the binding is removed.
fn bound(
    text: &str,
    root: &SyntaxNode,
    site: &SyntaxNode,
    found: &NixFinding,
    new: String,
) -> Result<[Replacement; 2]> {
    let odd =
        |what: &str| odd(text, found, what).help("write the literal where the option is given, then run this again");
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
    // The `let` is removed with its last binding, unless it contains a comment.
    let alone = scope.children().filter(|part| matches!(part.kind(), NODE_ATTRPATH_VALUE | NODE_INHERIT)).count() == 1;
    let comments = scope.children_with_tokens().any(|part| part.kind() == TOKEN_COMMENT);
    let gone = match scope.children().last() {
        Some(body) if alone && !comments => range(&scope).start..range(&body).start,
        _ => whole_line(text, range(&binding)),
    };
    Ok([Replacement { range: range(only), with: new }, Replacement { range: gone, with: String::new() }])
}

/// Whether this is the name used as an expression, or in an `inherit`.
fn is_use(node: &SyntaxNode, name: &str) -> bool {
    let names = node.parent().is_some_and(|parent| {
        matches!(parent.kind(), NODE_ATTRPATH | NODE_IDENT_PARAM | NODE_PAT_BIND)
            || parent.kind() == NODE_PAT_ENTRY && parent.first_child().as_ref() == Some(node)
    });
    !names && node.text() == name
}

/// The full lines around a range, if they contain nothing else; otherwise the range itself.
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

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
