//! Settings of a machine's configuration that must be kept when it moves to a new one. Read from the syntax; nothing is
//! evaluated.

use rnix::SyntaxKind::{NODE_ATTR_SET, NODE_ATTRPATH_VALUE, NODE_LET_IN};
use rnix::SyntaxNode;

use crate::domain::nix::syntax::{call, entry, raw, tree, words};

/// The maximum number of definitions that are examined in one file.
const ENTRIES: usize = 20_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `networking.hostName`.
    pub host_name: Option<String>,
    /// `system.stateVersion`.
    pub state_version: Option<String>,
}

/// Reads a module, as far as it is valid Nix and has literal values. The first value of each setting counts.
pub fn read(text: &str) -> Settings {
    let mut settings = Settings::default();
    let Ok(tree) = tree(text) else { return settings };
    for node in tree.descendants().filter(|node| node.kind() == NODE_ATTRPATH_VALUE).take(ENTRIES) {
        let Some((_, value)) = entry(&node) else { continue };
        let place = match path(&node) {
            Some(path) if path == ["networking", "hostName"] => &mut settings.host_name,
            Some(path) if path == ["system", "stateVersion"] => &mut settings.state_version,
            _ => continue,
        };
        if place.is_none() {
            *place = literal(&value);
        }
    }
    settings
}

/// The option that an entry defines; `None` for a `let` binding.
fn path(node: &SyntaxNode) -> Option<Vec<String>> {
    let mut whole: Vec<String> = Vec::new();
    for above in node.ancestors().filter(|above| above.kind() == NODE_ATTRPATH_VALUE) {
        if above.parent().is_some_and(|parent| parent.kind() == NODE_LET_IN) {
            return None;
        }
        let (path, _) = entry(&above)?;
        whole.splice(0..0, words(&path));
    }
    if whole.first().is_some_and(|first| first == "config") {
        whole.remove(0);
    }
    Some(whole)
}

/// A string, possibly inside a call such as `mkDefault` or `mkForce`.
fn literal(value: &SyntaxNode) -> Option<String> {
    if value.kind() == NODE_ATTR_SET {
        return None;
    }
    raw(value).or_else(|| raw(call(value).1.last()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> (Option<String>, Option<String>) {
        let Settings { host_name, state_version } = read(text);
        (host_name, state_version)
    }

    #[test]
    fn what_is_written_is_found_wherever_it_stands() {
        let both = (Some("web".to_owned()), Some("24.05".to_owned()));
        for text in [
            "{ networking.hostName = \"web\"; system.stateVersion = \"24.05\"; }",
            "{ pkgs, ... }: { networking = { hostName = \"web\"; }; system = { stateVersion = \"24.05\"; }; }",
            "{ lib, ... }: { config = lib.mkIf true { networking.hostName = lib.mkDefault \"web\"; system.stateVersion = lib.mkForce \"24.05\"; }; }",
            "let x = 1; in { imports = [ ]; networking.hostName = \"web\"; /* x */ system.stateVersion = \"24.05\"; }",
        ] {
            assert_eq!(said(text), both, "{text}");
        }
    }

    #[test]
    fn what_is_no_definition_or_no_literal_is_not() {
        for text in [
            "# system.stateVersion = \"23.05\";\n{ }",
            "let networking.hostName = \"web\"; in { }",
            "{ networking.hostName = config.x; system.stateVersion = \"${y}\"; }",
            "{ services.x.networking.hostName = \"web\"; }",
            "{ networking.hostName = ",
        ] {
            assert_eq!(said(text), (None, None), "{text}");
        }
    }
}
