//! The names of the systems in a flake, from its syntax: nothing is evaluated. Computed names are unknown, and reported
//! as such.

use std::collections::BTreeSet;

use rnix::SyntaxKind::{
    NODE_APPLY, NODE_ASSERT, NODE_ATTR_SET, NODE_BIN_OP, NODE_IDENT, NODE_INHERIT, NODE_INHERIT_FROM, NODE_LEGACY_LET,
    NODE_LET_IN, NODE_LIST, NODE_PAREN, NODE_PATH_REL, NODE_WITH, TOKEN_CONCAT, TOKEN_REC, TOKEN_UPDATE,
};
use rnix::SyntaxNode;

use crate::domain::nix::guard::Unread;
use crate::domain::nix::syntax::{ANY, call, entry, last_word, range, raw, tree, words};

/// The flake attribute that contains its systems.
const SYSTEMS: &str = "nixosConfigurations";
/// The maximum number of steps in one file, so that no file takes quadratic time.
const FUEL: usize = 100_000;
/// How many names are followed to reach a value.
const HOPS: usize = 16;

/// What is known about the systems of a flake.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The names in the source.
    pub names: BTreeSet<String>,
    /// Folders, relative to the flake, in which every subfolder is a name.
    pub folders: BTreeSet<String>,
    /// The lines on which names are computed.
    pub computed: BTreeSet<usize>,
}

/// Parses the text of a flake.nix.
pub fn read(text: &str) -> Result<Named, Unread> {
    let root = tree(text)?;
    let mut reader = Reader { fuel: FUEL, hops: 0, named: Named::default(), computed: Vec::new() };
    for node in root.descendants() {
        if let Some((path, value)) = entry(&node) {
            let words = words(&path);
            match words.iter().position(|word| word == SYSTEMS).map(|at| words.get(at + 1)) {
                Some(Some(name)) => reader.name(name, &node),
                Some(None) => reader.set(&value),
                None => {}
            }
        } else if node.children().any(|part| part.kind() == NODE_INHERIT_FROM)
            && node.children().any(|part| part.kind() == NODE_IDENT && part.text() == SYSTEMS)
        {
            reader.computed(&node);
        }
    }
    let ends: Vec<usize> = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    reader.named.computed = reader.computed.iter().map(|at| ends.partition_point(|end| end < at) + 1).collect();
    Ok(reader.named)
}

struct Reader {
    fuel: usize,
    hops: usize,
    named: Named,
    /// The offsets at which names are computed.
    computed: Vec<usize>,
}

impl Reader {
    fn computed(&mut self, node: &SyntaxNode) {
        self.computed.push(range(node).start);
    }

    fn name(&mut self, name: &str, node: &SyntaxNode) {
        if name == ANY {
            self.computed(node);
        } else {
            self.named.names.insert(name.to_owned());
        }
    }

    /// Counts a step; returns whether more are allowed.
    fn step(&mut self, node: &SyntaxNode) -> bool {
        self.fuel = self.fuel.saturating_sub(1);
        if self.fuel == 0 {
            self.computed(node);
        }
        self.fuel > 0
    }

    /// The names of a set.
    fn set(&mut self, node: &SyntaxNode) {
        if !self.step(node) {
            return;
        }
        match node.kind() {
            NODE_PAREN | NODE_LET_IN | NODE_WITH | NODE_ASSERT => {
                if let Some(body) = node.children().last() {
                    self.set(&body);
                }
            }
            NODE_ATTR_SET => {
                for part in node.children() {
                    if let Some((path, _)) = entry(&part) {
                        let words = words(&path);
                        self.name(words.first().map_or(ANY, String::as_str), &part);
                    } else if part.kind() == NODE_INHERIT {
                        for name in part.children().filter(|name| name.kind() != NODE_INHERIT_FROM) {
                            let word = raw(&name).unwrap_or_else(|| name.text().to_string());
                            self.name(&word, &name);
                        }
                    }
                }
            }
            NODE_BIN_OP if has(node, TOKEN_UPDATE) => node.children().for_each(|part| self.set(&part)),
            NODE_IDENT => self.follow(node, Self::set),
            NODE_APPLY => self.made(node),
            _ => self.computed(node),
        }
    }

    /// The names of a set that a function returns.
    fn made(&mut self, node: &SyntaxNode) {
        let (head, arguments) = call(node);
        match (last_word(&head).as_deref(), arguments.as_slice()) {
            (Some("mapAttrs" | "filterAttrs" | "optionalAttrs"), [_, set]) => self.set(set),
            (Some("recursiveUpdate"), [one, other]) => {
                self.set(one);
                self.set(other);
            }
            (Some("genAttrs"), [names, _]) => self.list(names),
            (Some("readDir"), [folder]) => self.folder(folder, ""),
            (Some("mkFleet"), [set]) => {
                let fleet = set.children().filter_map(|part| entry(&part)).find(|(path, _)| path.text() == "fleet");
                match fleet {
                    Some((_, folder)) => self.folder(&folder, "hosts"),
                    None => self.computed(node),
                }
            }
            _ => self.computed(node),
        }
    }

    /// The names in a list.
    fn list(&mut self, node: &SyntaxNode) {
        if !self.step(node) {
            return;
        }
        match node.kind() {
            NODE_PAREN => node.children().for_each(|part| self.list(&part)),
            NODE_LIST => {
                for part in node.children() {
                    self.name(raw(&part).as_deref().unwrap_or(ANY), &part);
                }
            }
            NODE_BIN_OP if has(node, TOKEN_CONCAT) => node.children().for_each(|part| self.list(&part)),
            NODE_IDENT => self.follow(node, Self::list),
            NODE_APPLY => {
                let (head, arguments) = call(node);
                match (last_word(&head).as_deref(), arguments.as_slice()) {
                    (Some("attrNames"), [set]) => self.set(set),
                    _ => self.computed(node),
                }
            }
            _ => self.computed(node),
        }
    }

    /// The subfolders of a folder of the flake, or of `below` in it.
    fn folder(&mut self, node: &SyntaxNode, below: &str) {
        let path = node.text().to_string();
        let parts: Vec<&str> = path.split('/').chain([below]).filter(|part| !part.is_empty() && *part != ".").collect();
        if node.kind() == NODE_PATH_REL && !parts.contains(&"..") {
            self.named.folders.insert(parts.join("/"));
        } else {
            self.computed(node);
        }
    }

    /// Continues with the value of a name.
    fn follow(&mut self, name: &SyntaxNode, then: fn(&mut Self, &SyntaxNode)) {
        match self.bound(name) {
            Some(value) if self.hops < HOPS => {
                self.hops += 1;
                then(self, &value);
                self.hops -= 1;
            }
            _ => self.computed(name),
        }
    }

    /// The value of a name, if an enclosing `let` or `rec` defines it.
    fn bound(&mut self, name: &SyntaxNode) -> Option<SyntaxNode> {
        let word = name.text().to_string();
        let scopes = name.ancestors().filter(|scope| {
            matches!(scope.kind(), NODE_LET_IN | NODE_LEGACY_LET)
                || scope.kind() == NODE_ATTR_SET && has(scope, TOKEN_REC)
        });
        for scope in scopes {
            for part in scope.children() {
                if !self.step(name) {
                    return None;
                }
                match entry(&part) {
                    Some((path, value)) if path.text() == word.as_str() => return Some(value),
                    _ => {}
                }
            }
        }
        None
    }
}

fn has(node: &SyntaxNode, token: rnix::SyntaxKind) -> bool {
    node.children_with_tokens().any(|part| part.kind() == token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Vec<String>, Vec<String>, usize) {
        let Named { names, folders, computed } = read(text).unwrap();
        (names.into_iter().collect(), folders.into_iter().collect(), computed.len())
    }

    #[test]
    fn names_that_are_written_are_read() {
        for (text, names) in [
            ("{ outputs = { self, nixpkgs }: { nixosConfigurations.web = f { }; }; }", &["web"][..]),
            (
                "{ nixosConfigurations = { web = 1; \"db\" = 2; inherit mail; inherit (x) a; }; }",
                &["a", "db", "mail", "web"],
            ),
            ("{ nixosConfigurations.\"a-b\".x = 1; }", &["a-b"]),
            (
                "{ outputs = i: let hosts = { a = 1; }; in { nixosConfigurations = builtins.mapAttrs f hosts; }; }",
                &["a"],
            ),
            ("{ flake.nixosConfigurations = (lib.genAttrs ([ \"a\" ] ++ more) f); more = 1; }", &["a"]),
            ("{ nixosConfigurations = { a = 1; } // (with lib; { b = 2; }); }", &["a", "b"]),
            ("let n = [ \"a\" \"b\" ]; in { nixosConfigurations = lib.genAttrs n (x: x); }", &["a", "b"]),
            ("{ x = let nixosConfigurations.a = 1; in { inherit nixosConfigurations; }; }", &["a"]),
            ("rec { h = { a = 1; }; nixosConfigurations = lib.genAttrs (builtins.attrNames h) f; }", &["a"]),
            ("{ description = \"nixosConfigurations.no\"; }", &[]),
        ] {
            assert_eq!(told(text).0, names, "{text}");
        }
    }

    #[test]
    fn folders_are_named_and_what_is_computed_is_told() {
        let computed = |text: &str| told(text).2;
        // The flake that `init --from` writes names no hosts: mkFleet uses the folders of hosts/.
        assert_eq!(told(&crate::domain::migrate::scaffold::flake(None)).0, Vec::<String>::new());
        assert_eq!(told("{ nixosConfigurations = s.lib.mkFleet { fleet = ./.; }; }").1, ["hosts"]);
        assert_eq!(told("{ nixosConfigurations = mkFleet { fleet = ./infra; }; }").1, ["infra/hosts"]);
        for text in [
            "{ nixosConfigurations = import ./hosts; }",
            "{ nixosConfigurations = mapAttrs f (import (runCommand \"x\")); }",
            "{ nixosConfigurations = builtins.listToAttrs (map f hosts); }",
            "{ nixosConfigurations.${name} = 1; }",
            "{ nixosConfigurations = lib.genAttrs [ \"a\" name ] f; }",
            "{ nixosConfigurations = mapAttrs f (builtins.readDir ../x); }",
            "{ inherit (import ./x) nixosConfigurations; }",
            "let a = b; b = a; in { nixosConfigurations = a; }",
        ] {
            assert_eq!(computed(text), 1, "{text}");
        }
        assert!(read("{ nixosConfigurations = ").is_err());
    }
}
