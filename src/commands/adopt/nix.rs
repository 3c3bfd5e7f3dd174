//! Finds the literal of a line of Nix source, parses its value, and rewrites it.

use crate::commands::adopt::inline::{Inline, Location, Request};
use crate::domain::address::quoted;
use crate::domain::name::SecretName;
use crate::domain::nix::edit::{self, PathSetting};
use crate::domain::nix::finding::{NixFinding, NixRule};
use crate::domain::nix::options::{self, Row};
use crate::domain::nix::redact::Edited;
use crate::domain::nix::{literal, rules};
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Result};

/// Finds the literal that the request selects.
pub fn find(text: &str, request: &Request) -> Result<Inline> {
    let all = rules::look(text).map_err(|unread| {
        Error::usage(unread.to_string()).help(format!(
            "adopt changes only what it can read whole; `nix-instantiate --parse {}` says more",
            quoted(&request.file.display().to_string())
        ))
    })?;
    let found = choose(text, &all, request)?;
    let place = format!("{}:{}", request.file.display(), found.line);
    let help = |error: Error| error.help(found.advice(&quoted(&place)));
    let odd = |what: &str| Error::usage(format!("line {}: {what}", found.line));
    let literal = matches!(found.rule, NixRule::InlineSecret | NixRule::PasswordHash | NixRule::SecretOption);
    let moved = found.target();
    if !literal && moved.is_none() {
        return Err(help(odd(&found.what())));
    }
    let target = match (&request.twin, moved) {
        (Some(twin), _) => beside(found, twin)?,
        (None, Some(moved)) => moved,
        (None, None) if found.known.is_some() => {
            return Err(help(odd(&format!("{} has no option beside it that takes a file", found.option()))));
        }
        (None, None) => {
            return Err(odd(&format!("{} is of a module that sealift does not know", found.option()))
                .help("if it has an option beside it that takes a file, name that one: `--twin passwordFile`"));
        }
    };
    let value = literal::value(text, found.span.clone())?;
    let known = found.known;
    let content = known.and_then(|known| known.content.as_deref()).filter(|_| found.call.is_none());
    if content.is_some_and(|content| content.contains("\"%\"")) {
        let plain = |byte: &u8| !byte.is_ascii_control() && !b"\"\\".contains(byte);
        if !value.expose(|bytes| bytes.iter().all(plain)) {
            return Err(odd("the value has characters that JSON would need escaped")
                .help("seal the whole JSON by hand: `sealift seal NAME --shape json`, then give the option its path"));
        }
    }
    let shape = match &request.shape {
        Some(shape) => shape.clone(),
        None => shape(found, &value).map_err(|error| error.about(format!("line {}", found.line)))?,
    };
    // The text of a file that Nix generates is already a complete environment file.
    if let Some(variable) = shape.variable().filter(|_| found.call.is_none()) {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\`$#;".contains(byte);
        if !value.expose(|bytes| bytes.iter().all(plain)) {
            return Err(odd("the value has characters that an environment file would need quoted")
                .help(format!("seal it by hand, quoted: `sealift seal NAME --shape {shape}`")));
        }
        if known.is_some_and(Row::is_a_variable) && variable.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(odd(&format!("{variable} is not how a variable of the environment is written"))
                .help("say which variable the service reads: `--shape env:NAME`"));
        }
    }
    let star = found.stars.first().map_or("", String::as_str);
    // systemd escapes other names, and it depends on the module whether it does so here.
    let named = !star.is_empty() && star.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_".contains(&byte));
    let unit = known.and_then(|known| known.unit.as_deref()).filter(|unit| named || !unit.contains("{}"));
    Ok(Inline {
        value,
        written: text.get(found.span.clone()).unwrap_or_default().to_owned(),
        option: found.option(),
        twin: match &request.twin {
            Some(twin) => twin.clone(),
            None => found.twin().unwrap_or_else(|| target.join(".")),
        },
        target,
        content,
        shape,
        owner: known.map_or("root", |known| known.owner.as_str()).replace("{}", star),
        unit: unit.map(|unit| unit.replace("{}", star)),
        for_users: known.is_some_and(|known| known.users),
        name: name(found),
        note: known.and_then(|known| known.note.as_deref()).unwrap_or_default(),
        place: Location::Option(Box::new(found.clone())),
    })
}

/// Returns the option of this name beside the found one.
fn beside(found: &NixFinding, twin: &str) -> Result<Vec<String>> {
    if !twin.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        || !twin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-'".contains(&byte))
    {
        return Err(Error::usage("`--twin` is not the name of one option")
            .help("name the option beside it that takes a file, such as passwordFile"));
    }
    let folder = found.option.len().saturating_sub(1 + found.elements());
    let folder = found.option.get(..folder).unwrap_or_default();
    Ok(folder.iter().cloned().chain([twin.to_owned()]).collect())
}

/// Replaces the value with the path.
pub fn rewrite(text: &str, found: &NixFinding, inline: &Inline, secret: &SecretName) -> Result<Edited> {
    let own = found.known.filter(|_| found.target().as_ref() == Some(&inline.target));
    let value = own.and_then(|known| known.value.as_deref());
    let list = own.is_some_and(|known| known.list) && found.call.is_none();
    edit::adopt(text, found, &PathSetting { option: &inline.target, value, list, secret })
}

/// Returns the only finding on a line.
fn choose<'a>(text: &str, all: &'a [NixFinding], request: &Request) -> Result<&'a NixFinding> {
    // Finds the byte range of the line once, because a file may have as many findings as lines.
    let start: usize = text.split('\n').take(request.line - 1).map(|line| line.len() + 1).sum();
    let line = text.split('\n').nth(request.line - 1);
    let end = start + line.map_or(0, str::len);
    let touches = |range: &std::ops::Range<usize>| line.is_some() && range.start <= end && range.end >= start;
    let on_it: Vec<&NixFinding> = all.iter().filter(|found| touches(&found.site) || touches(&found.span)).collect();
    let at = request.column.map(|column| {
        let line = line.unwrap_or_default();
        start + line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
    });
    let at_it: Vec<&NixFinding> = match at {
        None => on_it,
        Some(at) => on_it
            .into_iter()
            .filter(|found| {
                (found.site.start..=found.site.end).contains(&at) || (found.span.start..=found.span.end).contains(&at)
            })
            .collect(),
    };
    let listed = |found: &[&NixFinding]| {
        let named = found.iter().take(8).map(|found| format!("line {} ({})", found.line, found.option()));
        named.collect::<Vec<_>>().join(", ")
    };
    match at_it.as_slice() {
        [one] => Ok(one),
        [] if all.is_empty() => {
            Err(Error::usage(format!("line {} gives no secret inline, nor does any other line", request.line))
                .help("sealift knows the options of common modules, and names such as password; see docs/adopt.md"))
        }
        [] => Err(Error::usage(format!("line {} gives no secret inline", request.line))
            .help(format!("these do: {}", listed(&all.iter().collect::<Vec<_>>())))),
        more => Err(Error::usage(format!("line {} gives more than one: {}", request.line, listed(more)))
            .help("name the column too, PATH:LINE:COLUMN, or write each on a line of its own")),
    }
}

/// Returns the shape that the option's file needs. A value that is no token, such as a passphrase with spaces, is
/// sealed as is.
fn shape(found: &NixFinding, value: &Plaintext) -> Result<Shape> {
    let shape: Shape = found.known.map_or_else(|| "token".to_owned(), |known| known.shape(&found.stars)).parse()?;
    let fits = value.expose(|bytes| shape.check(bytes).is_ok());
    Ok(if shape == Shape::Token && !fits { Shape::Raw } else { shape })
}

/// Derives a name from the option: without generic words, in lower case, joined by hyphens.
fn name(found: &NixFinding) -> String {
    const EMPTY: [&str; 19] = [
        "config",
        "services",
        "networking",
        "users",
        "systemd",
        "network",
        "programs",
        "virtualisation",
        "instances",
        "interfaces",
        "settings",
        "servers",
        "jobs",
        "listeners",
        "netdevs",
        "environment",
        "extraUsers",
        "security",
        "serviceConfig",
    ];
    let words: Vec<&str> = found.option.iter().map(String::as_str).collect();
    let start = found.known.and_then(|known| {
        let pattern = if found.call.is_some() { known.file.as_deref() } else { known.option.as_deref() }?;
        let words = words.get(..words.len().checked_sub(found.elements())?)?;
        options::stars(pattern, words).map(|_| words.len() - pattern.split('.').count())
    });
    let start = start.or_else(|| words.iter().rposition(|word| ["services", "networking"].contains(word))).unwrap_or(0);
    let mut name = String::new();
    for word in words.iter().skip(start).filter(|word| !EMPTY.contains(word) && **word != "*") {
        if !name.is_empty() {
            name.push('-');
        }
        let mut before = '-';
        for letter in word.chars() {
            if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
                name.push('-');
            }
            name.push(if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' });
            before = letter;
        }
    }
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_is_for() {
        for (text, proposed) in [
            ("{ services.gitea-actions-runner.instances.main.token = \"x\"; }", "gitea-actions-runner-main-token"),
            ("{ services.gitea.database.password = \"x\"; }", "gitea-database-password"),
            ("{ config.networking.wireguard.interfaces.wg0.privateKey = \"x\"; }", "wireguard-wg0-private-key"),
            ("{ a.b = [ { users.users.jay.hashedPassword = \"$6$abc\"; } ]; }", "jay-hashed-password"),
            ("{ services.mosquitto.listeners = [ { users.\"Ä b\".password = \"x\"; } ]; }", "mosquitto---b-password"),
        ] {
            let found = rules::look(text).unwrap().remove(0);
            assert_eq!(name(&found), proposed);
            assert!(name(&found).parse::<SecretName>().is_ok());
        }
    }
}
