//! A literal in Nix source: which one a line means, what it is worth, and what is written for it.

use crate::commands::adopt::inline::{Inline, Place, Request};
use crate::domain::name::SecretName;
use crate::domain::nix::edit::{self, Wanted};
use crate::domain::nix::finding::{Found, Rule};
use crate::domain::nix::options::{self, Twin};
use crate::domain::nix::redact::Edited;
use crate::domain::nix::{literal, rules};
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Result};

/// The literal that the request means.
pub fn find(text: &str, request: &Request) -> Result<Inline> {
    let all = rules::look(text).map_err(|unread| {
        Error::usage(unread.to_string())
            .hint("adopt changes only what it can read whole; `nix-instantiate --parse` says more")
    })?;
    let found = choose(text, &all, request)?;
    let hint = |error: Error| error.hint(found.mend());
    let odd = |what: &str| Error::usage(format!("line {}: {what}", found.line));
    let literal = matches!(found.rule, Rule::InlineSecret | Rule::PasswordHash | Rule::SecretOption);
    if !literal {
        return Err(hint(odd(&found.what())));
    }
    let twin = match (&request.twin, found.known.map(|known| known.twin)) {
        (Some(twin), _) => twin.clone(),
        (None, Some(Twin::Beside(twin, ..))) => twin.to_owned(),
        (None, Some(Twin::Elsewhere(_))) => {
            return Err(hint(odd(&format!("{} has no option beside it that takes a file", found.option()))));
        }
        (None, None) => {
            return Err(odd(&format!("{} is of a module that sealift does not know", found.option()))
                .hint("if it has an option beside it that takes a file, name that one: `--twin passwordFile`"));
        }
    };
    if !twin.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        || !twin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-'".contains(&byte))
    {
        return Err(Error::usage("`--twin` is not the name of one option")
            .hint("name the option beside it that takes a file, such as passwordFile"));
    }
    let value = literal::value(text, found.span.clone())?;
    let shape = match &request.shape {
        Some(shape) => shape.clone(),
        None => shape(found, &value)?,
    };
    if shape.variable().is_some() {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\`$#;".contains(byte);
        if !value.expose(|bytes| bytes.iter().all(plain)) {
            return Err(odd("the value has characters that an environment file would need quoted")
                .hint(format!("seal it by hand, quoted: `sealift seal NAME --shape {shape}`")));
        }
    }
    let known = found.known;
    let star = found.stars.last().map_or("", String::as_str);
    let unit = known.map_or("", |known| known.unit);
    let named = !unit.contains("{}") || star.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_".contains(&byte));
    Ok(Inline {
        value,
        written: text.get(found.span.clone()).unwrap_or_default().to_owned(),
        option: found.option(),
        twin,
        shape,
        owner: known.map_or("root", |known| known.owner).to_owned(),
        // systemd escapes other names, and whether it does so here is up to the module.
        unit: (!unit.is_empty() && named && !star.is_empty() || !unit.is_empty() && !unit.contains("{}"))
            .then(|| unit.replace("{}", star)),
        for_users: known.is_some_and(|known| known.for_users),
        name: name(found),
        note: known.map_or("", |known| known.note),
        place: Place::Option(Box::new(found.clone())),
    })
}

/// Writes the path where the value was.
pub fn rewrite(text: &str, found: &Found, inline: &Inline, secret: &SecretName) -> Result<Edited> {
    let around = match found.known.map(|known| known.twin) {
        Some(Twin::Beside(twin, before, after)) if twin == inline.twin => (before, after),
        _ => ("", ""),
    };
    edit::adopt(text, found, &Wanted { twin: &inline.twin, around, secret })
}

/// The one finding on a line.
fn choose<'a>(text: &str, all: &'a [Found], request: &Request) -> Result<&'a Found> {
    // The line's own bytes, found once: a file may have as many findings as lines.
    let start: usize = text.split('\n').take(request.line - 1).map(|line| line.len() + 1).sum();
    let line = text.split('\n').nth(request.line - 1);
    let end = start + line.map_or(0, str::len);
    let touches = |range: &std::ops::Range<usize>| line.is_some() && range.start <= end && range.end >= start;
    let on_it: Vec<&Found> = all.iter().filter(|found| touches(&found.site) || touches(&found.span)).collect();
    let at = request.column.map(|column| {
        let line = line.unwrap_or_default();
        start + line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
    });
    let at_it: Vec<&Found> = match at {
        None => on_it,
        Some(at) => on_it
            .into_iter()
            .filter(|found| {
                (found.site.start..=found.site.end).contains(&at) || (found.span.start..=found.span.end).contains(&at)
            })
            .collect(),
    };
    let listed = |found: &[&Found]| {
        let named = found.iter().take(8).map(|found| format!("line {} ({})", found.line, found.option()));
        named.collect::<Vec<_>>().join(", ")
    };
    match at_it.as_slice() {
        [one] => Ok(one),
        [] if all.is_empty() => {
            Err(Error::usage(format!("line {} gives no secret inline, nor does any other line", request.line))
                .hint("sealift knows the options of common modules, and names such as password; see docs/adopt.md"))
        }
        [] => Err(Error::usage(format!("line {} gives no secret inline", request.line))
            .hint(format!("these do: {}", listed(&all.iter().collect::<Vec<_>>())))),
        more => Err(Error::usage(format!("line {} gives more than one: {}", request.line, listed(more)))
            .hint("name the column too, PATH:LINE:COLUMN, or write each on a line of its own")),
    }
}

/// The shape that the option's file must have. What is no token, such as a pass phrase with spaces, is sealed as it is.
fn shape(found: &Found, value: &crate::domain::secret::plaintext::Plaintext) -> Result<Shape> {
    let shape: Shape = found.known.map_or("token", |known| known.shape).parse()?;
    let fits = value.expose(|bytes| shape.check(bytes).is_ok());
    Ok(if shape == Shape::Token && !fits { Shape::Raw } else { shape })
}

/// A name made of the option: without the words that say nothing, in lower case, joined by hyphens.
fn name(found: &Found) -> String {
    const EMPTY: [&str; 18] = [
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
    ];
    let words: Vec<&str> = found.option.iter().map(String::as_str).collect();
    let start = found.known.and_then(|known| {
        let length = known.option.split('.').count();
        options::stars(known.option, &words).map(|_| words.len() - length)
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
