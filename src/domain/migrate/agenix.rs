//! The rules file of agenix: which file is encrypted to which public keys. Parsed as Nix source and evaluated as far as
//! such files need it (`let`, lists, `++`, sets, `with`). What would need Nix itself is refused, with its line.
//! Files of keys that it names are read by the caller.

use std::collections::BTreeSet;

use rnix::SyntaxKind::{
    NODE_APPLY, NODE_ATTR_SET, NODE_BIN_OP, NODE_IDENT, NODE_INHERIT, NODE_INHERIT_FROM, NODE_LET_IN, NODE_LIST,
    NODE_PAREN, NODE_PATH_REL, NODE_ROOT, NODE_SELECT, NODE_STRING, NODE_WITH, TOKEN_CONCAT, TOKEN_REC, TOKEN_UPDATE,
};
use rnix::SyntaxNode;

use crate::domain::name::SecretName;
use crate::domain::nix::guard::line_of;
use crate::domain::nix::syntax::{call, entry, last_word, range, raw, tree, words};
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Result};

/// The default paths of a rules file.
pub const RULES: [&str; 2] = ["secrets.nix", "secrets/secrets.nix"];
/// The maximum evaluation steps for one file: it stops lists that double on every line.
const FUEL: usize = 200_000;
/// The steps that the reading of a file counts for.
const READING: usize = 200;
/// The maximum nesting of names, lists and brackets.
const DEEPEST: usize = 100;

/// One public key, and its name in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub text: String,
    /// The name that is bound to it; `None` if it is a literal where it is used.
    pub name: Option<String>,
    /// The lists and sets that it was reached through.
    pub groups: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, relative to the folder of the rules.
    pub file: String,
    /// The line of the rule, from 1.
    pub line: usize,
    pub keys: Vec<Key>,
}

/// The value of an expression.
#[derive(Clone)]
enum Value {
    Keys(Vec<Key>),
    Sets(Vec<SyntaxNode>),
}

/// The name of the secret for a file: its path from the top of the fleet, in the characters that are allowed in names.
pub fn name_of(path: &str) -> Option<SecretName> {
    let stem = path.strip_suffix(".age").unwrap_or(path).to_ascii_lowercase();
    let inside = stem.strip_prefix("secrets/").unwrap_or(&stem);
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "._-/".contains(letter) { letter } else { '-' };
    let parts: Vec<String> = inside.split('/').map(|part| part.chars().map(plain).collect::<String>()).collect();
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_start_matches(['-', '.', '_'])).collect();
    parts.join("/").parse().ok()
}

/// The path of a file that the rules in `folder` name, both from the top of the fleet; `None` where it leads out of it.
pub fn path_of(folder: &str, named: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(named.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Reads the rules. `file` reads a file that they name by a relative path, as it is written there.
pub fn read(text: &str, file: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Vec<Entry>> {
    let root = tree(text).map_err(|unread| Error::usage(unread.to_string()))?;
    let mut reader = Reader { text, file, fuel: FUEL, depth: 0 };
    let Value::Sets(sets) = reader.value(&root)? else {
        return Err(Error::usage("it is not a set of files"));
    };
    let mut entries = Vec::new();
    for set in &sets {
        for (path, value) in set.children().filter_map(|part| entry(&part)) {
            let line = line_of(text, range(&path).start);
            let keys = match words(&path).as_slice() {
                [file, key] if key == "publicKeys" => Some((file.clone(), reader.keys(&value)?)),
                [_, key] if key == "armor" => None,
                [file] => match reader.value(&value)? {
                    Value::Sets(rules) => match reader.member(&rules, "publicKeys")? {
                        Some(Value::Keys(keys)) => Some((file.clone(), keys)),
                        _ => return Err(reader.odd(&path, "it has no publicKeys")),
                    },
                    Value::Keys(_) => return Err(reader.odd(&path, "it is not a set with publicKeys")),
                },
                _ => return Err(reader.odd(&path, "it is not `\"FILE\".publicKeys`")),
            };
            if let Some((file, keys)) = keys {
                entries.push(Entry { file, line, keys });
            }
        }
    }
    Ok(entries)
}

struct Reader<'t> {
    text: &'t str,
    file: &'t dyn Fn(&str) -> Result<Vec<u8>>,
    fuel: usize,
    depth: usize,
}

impl Reader<'_> {
    fn line(&self, node: &SyntaxNode) -> String {
        format!("line {}", line_of(self.text, range(node).start))
    }

    fn odd(&self, node: &SyntaxNode, what: &str) -> Error {
        Error::usage(format!("{}: {what}", self.line(node)))
            .help("write it plainly: `\"FILE\".publicKeys = [ KEY KEY ];`, with keys bound by `let` above")
    }

    fn burn(&mut self, node: &SyntaxNode, by: usize) -> Result<()> {
        self.fuel = self.fuel.checked_sub(by).ok_or_else(|| self.odd(node, "this is more than can be worked out"))?;
        Ok(())
    }

    fn keys(&mut self, node: &SyntaxNode) -> Result<Vec<Key>> {
        match self.value(node)? {
            Value::Keys(keys) => Ok(keys),
            Value::Sets(_) => Err(self.odd(node, "it is a set where keys should be")),
        }
    }

    fn value(&mut self, node: &SyntaxNode) -> Result<Value> {
        self.burn(node, 1)?;
        if self.depth == DEEPEST {
            return Err(self.odd(node, "this is more than can be worked out, or comes back to itself"));
        }
        self.depth += 1;
        let value = self.worked_out(node);
        self.depth -= 1;
        value
    }

    fn worked_out(&mut self, node: &SyntaxNode) -> Result<Value> {
        let mut parts = node.children();
        let none = || Error::usage("the file is empty");
        match node.kind() {
            NODE_ROOT | NODE_PAREN => self.value(&parts.next().ok_or_else(none)?),
            NODE_LET_IN | NODE_WITH => self.value(&parts.last().ok_or_else(none)?),
            NODE_ATTR_SET => Ok(Value::Sets(vec![node.clone()])),
            NODE_STRING => {
                let text = raw(node).filter(|text| !text.contains('\\'));
                let text = text.ok_or_else(|| self.odd(node, "a key is a plain string"))?;
                Ok(Value::Keys(vec![Key { text, name: None, groups: BTreeSet::new() }]))
            }
            NODE_LIST => {
                let mut keys = Vec::new();
                for part in parts {
                    keys.extend(self.keys(&part)?);
                    self.burn(node, keys.len() / 64)?;
                }
                Ok(Value::Keys(keys))
            }
            NODE_BIN_OP => {
                let operator = |kind| node.children_with_tokens().any(|part| part.kind() == kind);
                let (Some(left), Some(right)) = (parts.next(), parts.next()) else { return Err(none()) };
                match (self.value(&left)?, self.value(&right)?) {
                    (Value::Keys(mut left), Value::Keys(right)) if operator(TOKEN_CONCAT) => {
                        self.burn(node, left.len() + right.len())?;
                        left.extend(right);
                        Ok(Value::Keys(left))
                    }
                    (Value::Sets(mut left), Value::Sets(right)) if operator(TOKEN_UPDATE) => {
                        left.extend(right);
                        Ok(Value::Sets(left))
                    }
                    _ => Err(self.odd(node, "this needs Nix to be worked out")),
                }
            }
            NODE_IDENT => self.named(node),
            NODE_SELECT => {
                let (Some(head), Some(path)) = (parts.next(), parts.next()) else { return Err(none()) };
                let mut value = self.value(&head)?;
                let mut group = last_word(&head);
                for word in words(&path) {
                    let Value::Sets(sets) = &value else { return Err(self.odd(node, "it is not a set")) };
                    let member = self.member(sets, &word)?;
                    value = member.ok_or_else(|| self.odd(node, &format!("there is no `{word}`")))?;
                    value = called(value, &word, group.as_deref());
                    group = Some(word);
                }
                Ok(value)
            }
            NODE_APPLY => self.call(node),
            _ => Err(self.odd(node, "this needs Nix to be worked out")),
        }
    }

    fn call(&mut self, node: &SyntaxNode) -> Result<Value> {
        let (head, arguments) = call(node);
        match (last_word(&head).unwrap_or_default().as_str(), arguments.as_slice()) {
            ("attrValues", [set]) => {
                let Value::Sets(sets) = self.value(set)? else { return Err(self.odd(set, "it is not a set")) };
                let (group, mut keys) = (last_word(set), Vec::new());
                for (path, value) in sets.iter().flat_map(SyntaxNode::children).filter_map(|part| entry(&part)) {
                    let value = called(self.value(&value)?, &words(&path).join("."), group.as_deref());
                    let Value::Keys(more) = value else { return Err(self.odd(set, "it holds more than keys")) };
                    keys.extend(more);
                }
                Ok(Value::Keys(keys))
            }
            ("concatLists" | "flatten" | "unique", [list]) => self.value(list),
            ("readFile" | "fileContents", [path]) => self.key_in(path),
            ("import", _) => Err(self.odd(node, "it takes keys from another file, which is not read here")),
            _ => Err(self.odd(node, "this needs Nix to be worked out")),
        }
    }

    /// The key in a file. Nothing of a file that holds none is in the error.
    fn key_in(&mut self, path: &SyntaxNode) -> Result<Value> {
        self.burn(path, READING)?;
        // A path that is partly computed has nodes in it.
        if path.kind() != NODE_PATH_REL || path.first_child().is_some() {
            return Err(
                self.odd(path, "the file of a key is named by a plain path below the fleet, such as ./keys/NAME.pub")
            );
        }
        let named = path.text().to_string();
        let bytes = (self.file)(&named).map_err(|error| error.about(self.line(path)))?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        Recipient::parse(&text)
            .map_err(|error| error.about(format!("{}: {named} is no public key", self.line(path))))?;
        Ok(Value::Keys(vec![Key { text, name: None, groups: BTreeSet::new() }]))
    }

    /// The value of a name: its nearest enclosing binding, or else a member of a set opened by `with`.
    fn named(&mut self, node: &SyntaxNode) -> Result<Value> {
        let name = node.text().to_string();
        let mut opened = Vec::new();
        let mut inner = node.clone();
        for above in node.ancestors().skip(1) {
            let recursive =
                above.kind() == NODE_ATTR_SET && above.children_with_tokens().any(|part| part.kind() == TOKEN_REC);
            if above.kind() == NODE_LET_IN || recursive {
                // For `inherit (set) name;`, the name is looked up in that set.
                if let Some(value) = self.member(std::slice::from_ref(&above), &name)? {
                    return Ok(called(value, &name, None));
                }
            } else if above.kind() == NODE_WITH && above.children().last().as_ref() == Some(&inner) {
                opened.extend(above.first_child());
            }
            inner = above;
        }
        for set in opened {
            if let Value::Sets(sets) = self.value(&set)?
                && let Some(value) = self.member(&sets, &name)?
            {
                return Ok(called(value, &name, last_word(&set).as_deref()));
            }
        }
        Err(self.odd(node, &format!("`{name}` is not bound in this file")))
    }

    /// The value of a name in sets, of which the last one wins. A dotted path that begins with the name is refused.
    fn member(&mut self, sets: &[SyntaxNode], name: &str) -> Result<Option<Value>> {
        for set in sets.iter().rev() {
            for part in set.children() {
                self.burn(&part, 1)?;
                if let Some((path, value)) = entry(&part) {
                    match words(&path).as_slice() {
                        [word] if word == name => return self.value(&value).map(Some),
                        [word, ..] if word == name => return Err(self.odd(&path, "write this set with braces")),
                        _ => {}
                    }
                } else if part.kind() == NODE_INHERIT
                    && let Some(from) = part.children().find(|inner| inner.kind() == NODE_INHERIT_FROM)
                    && part.children().any(|word| word.kind() == NODE_IDENT && word.text() == name)
                    && let Some(from) = from.first_child()
                {
                    let Value::Sets(sets) = self.value(&from)? else { return Err(self.odd(&part, "it is not a set")) };
                    return self.member(&sets, name);
                }
            }
        }
        Ok(None)
    }
}

/// Labels a value with a name: a single key gets it as its name, several keys get it as a group.
fn called(value: Value, name: &str, group: Option<&str>) -> Value {
    match value {
        Value::Keys(mut keys) => {
            let single = keys.len() == 1;
            for key in &mut keys {
                if single && key.name.is_none() {
                    key.name = Some(name.to_owned());
                } else {
                    key.groups.insert(name.to_owned());
                }
                key.groups.extend(group.map(str::to_owned));
            }
            Value::Keys(keys)
        }
        sets @ Value::Sets(_) => sets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads no file.
    fn none(named: &str) -> Result<Vec<u8>> {
        Err(Error::failed(format!("there is no {named}")))
    }

    /// The files, with the names of their keys.
    fn names(text: &str) -> Vec<(String, Vec<String>)> {
        let entries = read(text, &none).unwrap_or_else(|error| panic!("{text}: {error}"));
        let keys =
            |entry: &Entry| entry.keys.iter().map(|key| key.name.clone().unwrap_or_else(|| key.text.clone())).collect();
        entries.iter().map(|entry| (entry.file.clone(), keys(entry))).collect()
    }

    #[test]
    fn the_forms_that_people_write_are_worked_out() {
        let wanted = vec![("a.age".to_owned(), vec!["jay".to_owned(), "nixos".to_owned()])];
        for text in [
            r#"let jay = "K1"; nixos = "K2"; in { "a.age".publicKeys = [ jay nixos ]; }"#,
            r#"let jay = "K1"; nixos = "K2"; users = [ jay ]; systems = [ nixos ]; in { "a.age".publicKeys = users ++ systems; }"#,
            r#"let users = { jay = "K1"; }; hosts = { nixos = "K2"; }; in { "a.age" = { publicKeys = [ users.jay hosts.nixos ]; armor = true; }; }"#,
            r#"let k = { jay = "K1"; nixos = "K2"; }; in with k; { "a.age".publicKeys = [ jay nixos ]; "a.age".armor = true; }"#,
            r#"let k = { jay = "K1"; nixos = "K2"; }; inherit (k) jay nixos; in { "a.age".publicKeys = [ jay ] ++ [ nixos ]; }"#,
            r#"let k = rec { jay = "K1"; nixos = "K2"; all = [ jay nixos ]; }; in { "a.age".publicKeys = k.all; } // { }"#,
            r#"let k = { jay = "K1"; nixos = "K2"; }; in { "a.age".publicKeys = builtins.attrValues k; }"#,
            r#"let a = [ (jay) ]; jay = "K1"; nixos = "K2"; in { "a.age".publicKeys = builtins.concatLists [ a [ nixos ] ]; }"#,
        ] {
            assert_eq!(names(text), wanted, "{text}");
        }
        let text = r#"let jay = "K1"; users = [ jay "K2" ]; in { "a.age".publicKeys = users; }"#;
        let entry = &read(text, &none).unwrap()[0];
        assert!(entry.keys.iter().all(|key| key.groups.contains("users")));
        assert_eq!((entry.keys[1].text.as_str(), &entry.keys[1].name), ("K2", &None));
    }

    #[test]
    fn a_key_is_read_from_a_file_beside_the_rules() {
        let public = age::x25519::Identity::generate().to_public().to_string();
        let file = |named: &str| match named {
            "./k.pub" | "k/../k.pub" | "../k.pub" => Ok(format!("{public}\n").into_bytes()),
            "./two" => Ok(format!("{public}\n{public}\n").into_bytes()),
            "./no.pub" => Ok(b"no key at all\xff".to_vec()),
            _ => none(named),
        };
        for key in [
            "builtins.readFile ./k.pub",
            "(readFile k/../k.pub)",
            "lib.fileContents ../k.pub",
            "pkgs.lib.strings.fileContents ./k.pub",
        ] {
            let text = format!("let jay = {key}; in {{ \"a.age\".publicKeys = [ jay ({key}) ]; }}");
            let keys = &read(&text, &file).unwrap_or_else(|error| panic!("{text}: {error}"))[0].keys;
            assert!(keys.iter().all(|key| key.text == public), "{keys:?}");
            assert_eq!((keys[0].name.as_deref(), &keys[1].name), (Some("jay"), &None));
        }
        let plain = "named by a plain path";
        for (path, why) in [
            ("./gone.pub", "line 2: there is no ./gone.pub"),
            ("./no.pub", "line 2: ./no.pub is no public key: not a recipient"),
            ("./two", "line 2: ./two is no public key: a recipient is one line"),
            ("/etc/passwd", plain),
            ("~/.ssh/id.pub", plain),
            ("<nixpkgs>", plain),
            ("\"./k.pub\"", plain),
            ("./${x}/k.pub", plain),
            ("(./k.pub)", plain),
        ] {
            let text = format!("let\nk = builtins.readFile {path}; in {{ \"a.age\".publicKeys = [ k ]; }}");
            let error = read(&text, &file).unwrap_err();
            assert!(error.message().contains(why) && !format!("{error:?}").contains("at all"), "{path}: {error:?}");
        }
    }

    #[test]
    fn a_path_stays_in_the_fleet() {
        for (folder, named, path) in [
            ("", "./k.pub", Some("k.pub")),
            ("secrets/", "../keys/k.pub", Some("keys/k.pub")),
            ("secrets/", "../../k.pub", None),
            ("", "a/../../k.pub", None),
        ] {
            assert_eq!(path_of(folder, named).as_deref(), path, "{folder}{named}");
        }
    }

    #[test]
    fn what_needs_nix_is_refused_with_its_line() {
        for (text, why) in [
            (
                "let\n k = import ./keys.nix; in { \"a.age\".publicKeys = [ k.jay ]; }",
                "line 2: it takes keys from another file",
            ),
            ("{ \"a.age\".publicKeys = map f x; }", "line 1: this needs Nix"),
            ("{\n\"a.age\".publicKeys = [ jay ]; }", "line 2: `jay` is not bound"),
            ("{ \"a.age\".other = [ ]; }", "line 1: it is not"),
            ("{ \"a.age\" = { }; }", "line 1: it has no publicKeys"),
            ("x: { }", "line 1: this needs Nix"),
            ("let a = a; in { \"a.age\".publicKeys = a; }", "more than can be worked out"),
            ("{ a = ; }", "line 1 is not Nix"),
            ("\"a\"", "it is not a set of files"),
            ("# nothing", "is not Nix"),
        ] {
            let error = read(text, &none).unwrap_err();
            assert!(error.message().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn lists_that_double_end_early() {
        let doubled: Vec<String> = (1..60).map(|at| format!("a{at} = a{} ++ a{};", at - 1, at - 1)).collect();
        let text = format!("let a0 = [ \"k\" ]; {} in {{ \"a.age\".publicKeys = a59; }}", doubled.concat());
        assert!(read(&text, &none).unwrap_err().message().contains("more than can be worked out"));
    }
}
