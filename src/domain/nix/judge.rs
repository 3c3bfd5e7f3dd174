//! Decides whether the value of an option is a secret: a literal, or a file made from one. Only the path of the option
//! is known.

use crate::domain::nix::finding::{NixRule, names_a_key, names_a_value, names_the_file_of_a_value};
use crate::domain::nix::options::{self, Form, Row};
use crate::domain::nix::syntax::ANY;

/// A row of the table of options, and what its stars match.
pub type Known = (&'static Row, Vec<String>);

/// The rule that a path literal at an option violates.
pub fn path(option: &[&str], text: &str) -> Option<NixRule> {
    let ciphertext = option.last() == Some(&"sopsFile");
    if ciphertext || !names_a_key(text) {
        return None;
    }
    Some(if puts_a_key(option) { NixRule::KeyInPlace } else { NixRule::KeyPath })
}

/// Whether this is the content of a file that home-manager or /etc installs, and its name is that of a key.
fn puts_a_key(option: &[&str]) -> bool {
    match option {
        [.., "home", "file", name, "text" | "source"]
        | [.., "environment", "etc", name, "text" | "source"]
        | [.., "xdg", "configFile" | "dataFile", name, "text" | "source"] => names_a_key(name),
        _ => false,
    }
}

/// The rule that a literal at an option violates.
pub fn literal(path: &[&str], text: &str) -> Option<(NixRule, Option<Known>)> {
    if path.is_empty() || refers(text) {
        return None;
    }
    let named = path.last().is_some_and(|name| names_a_value(name));
    if puts_a_key(path) && path.last() == Some(&"text") {
        return Some((NixRule::KeyInPlace, known_to(NixRule::KeyInPlace, path)));
    }
    // An element of a list is treated like the list.
    let option = path.strip_suffix(&[ANY]).filter(|shorter| options::find(shorter).is_some()).unwrap_or(path);
    if let Some((row, stars)) = options::find(option).filter(|(row, _)| named || !row.is_a_variable()) {
        let locked = row.is_hash() && (text.len() < 4 || text.starts_with(['!', '*']));
        let plain = path.last() == Some(&"auth") && (!text.contains("password=") || text.contains("ext:"));
        let rule = if row.is_hash() { NixRule::PasswordHash } else { NixRule::InlineSecret };
        return (!locked && !plain).then(|| (rule, Some(owned(row, stars))));
    }
    let in_unit = match path {
        [.., "environment" | "variables" | "sessionVariables", _] => named,
        [.., "Environment"] | [.., "Environment", ANY] => text.split_whitespace().any(|word| {
            let pair = word.trim_matches(['"', '\'', '\\']).split_once('=');
            pair.is_some_and(|(name, value)| names_a_value(name) && !refers(value))
        }),
        _ => false,
    };
    if in_unit {
        return Some((NixRule::UnitEnvironment, known_to(NixRule::UnitEnvironment, path)));
    }
    // An option that is not in the table is recognized by its name only, so the value must also look like a secret.
    let looks_like_one = |text: &str| {
        let mentions = text.starts_with('/') || text.contains("://") || text.contains(char::is_whitespace);
        let a_name = text.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_".contains(&byte)) && names_a_value(text);
        let variable =
            text.strip_prefix('$').is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        !mentions
            && !a_name
            && !variable
            && path.last() != Some(&text)
            && !["unused", "none", "disable", "disabled", "enable", "enabled"].contains(&text)
    };
    let of_a_module = path.iter().any(|word| ["services", "networking", "virtualisation"].contains(word));
    (of_a_module && named && looks_like_one(text.trim())).then_some((NixRule::SecretOption, None))
}

/// The rule that a text violates if Nix makes a file of it, at an option that takes the path of a secret's file.
pub fn made_file(path: &[&str], text: &str) -> Option<(NixRule, Option<Known>)> {
    if refers(text) {
        return None;
    }
    let known = options::find_file(path);
    let named = path.last().is_some_and(|name| names_the_file_of_a_value(name));
    // An environment file or a configuration file may contain nothing secret.
    let says = |row: &Row| match row.form {
        Some(Form::EnvFile) => text
            .lines()
            .any(|line| line.split_once('=').is_some_and(|(name, value)| names_a_value(name.trim()) && !refers(value))),
        Some(Form::RuntimeFile) => named,
        _ => true,
    };
    let secret = known.as_ref().map_or(named, |(row, _)| says(row));
    secret.then(|| (NixRule::InlineSecret, known.map(|(row, stars)| owned(row, stars))))
}

/// The row of an option that only this rule checks.
fn known_to(rule: NixRule, path: &[&str]) -> Option<Known> {
    options::find_for(rule.id(), path).map(|(row, stars)| owned(row, stars))
}

fn owned(row: &'static Row, stars: Vec<&str>) -> Known {
    (row, stars.into_iter().map(str::to_owned).collect())
}

/// Whether a literal refers to a secret instead of being one: a file, a variable, a placeholder.
fn refers(text: &str) -> bool {
    let text = text.trim();
    let places = ["/run/", "/var/", "/etc/", "/nix/", "/home/", "/root/", "/dev/"];
    let heads = ["\\${", "''${", "$__", "{{", "%d/", "%S/", "%{", "%(", "%env", "env:", "file:", "ext:", "!secret "];
    let variable = text.strip_prefix('$').map(|rest| rest.split('/').next().unwrap_or_default());
    let computed = [("$(", ")"), ("${", "}"), ("{env:", "}"), ("{file:", "}"), ("$env(", ")"), ("`", "`")];
    text.is_empty()
        || places.iter().chain(&heads).any(|head| text.starts_with(head))
        || computed.iter().any(|(head, tail)| text.starts_with(head) && text.ends_with(tail))
        || variable.is_some_and(|name| {
            // All upper or all lower case, as in shells and services; `$ecr3T` may be a password.
            let cased = |other: fn(&u8) -> bool| !name.bytes().any(|byte| other(&byte));
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && (cased(u8::is_ascii_lowercase) || (cased(u8::is_ascii_uppercase) && name.contains('_')))
        })
        || text.len() > 2 && text.starts_with('@') && text.ends_with('@')
}
