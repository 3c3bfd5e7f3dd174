//! Finds the path of the key that signs commits in a git configuration. gix-config would parse all of it, but adds a
//! dozen crates for this one line.

use std::ops::Range;

use crate::error::{Error, Result};

/// `user.signingkey` as a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// The line, from 1.
    pub line: usize,
    /// The byte range of the path, including quotes.
    pub span: Range<usize>,
    /// The path as written.
    pub path: String,
}

/// The signing key on this line.
pub fn signing_key(text: &str, line: usize) -> Result<SigningKey> {
    let (mut section, mut at, mut elsewhere) = (String::new(), 0, None);
    for (number, full) in text.split('\n').enumerate() {
        let start = at;
        at += full.len() + 1;
        let mut rest = full.trim_start();
        if let Some(head) = rest.strip_prefix('[') {
            let Some((name, after)) = head.split_once(']') else { continue };
            section = name.trim().to_ascii_lowercase();
            rest = after;
        }
        let Some((key, value)) = rest.split_once('=') else { continue };
        if section != "user" || !key.trim().eq_ignore_ascii_case("signingkey") {
            continue;
        }
        if number + 1 != line {
            elsewhere = Some(number + 1);
            continue;
        }
        let begun = start + full.len() - value.len();
        return parsed(value, begun, line);
    }
    let error = Error::usage(format!("line {line} is not the `signingkey` of `[user]`"));
    Err(match elsewhere {
        Some(other) => error.help(format!("it is on line {other}")),
        None => {
            error.help("in a git configuration, adopt takes the line that names the private key which signs commits")
        }
    })
}

fn parsed(value: &str, begun: usize, line: usize) -> Result<SigningKey> {
    let start = begun + value.len() - value.trim_start().len();
    let rest = value.trim_start();
    let (path, length) = match rest.strip_prefix('"') {
        Some(quoted) => {
            let (inner, after) = quoted.split_once('"').unwrap_or((quoted, "\\"));
            (
                inner,
                if after.trim().is_empty() || after.trim_start().starts_with(['#', ';']) { inner.len() + 2 } else { 0 },
            )
        }
        None => {
            let path = rest.split(['#', ';']).next().unwrap_or_default().trim_end();
            (path, path.len())
        }
    };
    let odd = |what: &str| Error::usage(format!("line {line}: {what}"));
    if length == 0 || path.contains(['\\', '"', '\r']) {
        return Err(
            odd("the path is written in a form that is not understood").help("write it plainly: signingkey = PATH")
        );
    }
    let public = ["key::", "ssh-", "ecdsa-", "sk-"].iter().any(|head| path.starts_with(head)) || path.ends_with(".pub");
    if public {
        return Err(odd("signingkey names a public key")
            .help("nothing is given away; name the private key's file to have it delivered"));
    }
    let hexadecimal = path.len() >= 8 && path.trim_end_matches('!').bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal || path.contains('@') && !path.contains('/') {
        return Err(
            odd("signingkey names an OpenPGP key").help("its private half is in GnuPG's own store, not in a file")
        );
    }
    Ok(SigningKey { line, span: start..start + length, path: path.to_owned() })
}

/// Replaces the path on that line.
pub fn with_path(text: &str, key: &SigningKey, path: &str) -> String {
    let (before, after) = (text.get(..key.span.start), text.get(key.span.end..));
    [before.unwrap_or_default(), path, after.unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_replaced_and_nothing_else() {
        for (line, new) in [
            ("\tsigningkey = ~/.ssh/id_ed25519", "\tsigningkey = /run/x"),
            ("\tsigningKey=/home/jay/.ssh/sign   # mine", "\tsigningKey=/run/x   # mine"),
            ("\tSIGNINGKEY = \"/home/jay/my key\" ; mine", "\tSIGNINGKEY = /run/x ; mine"),
        ] {
            let text = format!("[core]\n\tsigningkey = no\n[user]\n\tname = Jay\n{line}\n[gpg]\n\tformat = ssh\n");
            let key = signing_key(&text, 5).unwrap();
            assert_eq!(with_path(&text, &key, "/run/x"), text.replace(line, new));
        }
        let text = "[user] signingkey = ./key";
        assert_eq!(signing_key(text, 1).unwrap().path, "./key");
    }

    #[test]
    fn what_names_no_private_file_is_refused() {
        for (value, why) in [
            ("key::ssh-ed25519 AAAA", "public"),
            ("ssh-ed25519 AAAA", "public"),
            ("~/.ssh/id_ed25519.pub", "public"),
            ("0123456789ABCDEF!", "OpenPGP"),
            ("jay@example.org", "OpenPGP"),
            ("\"a\\\"b\"", "not understood"),
            ("", "not understood"),
            ("\"open", "not understood"),
        ] {
            let error = signing_key(&format!("[user]\nsigningkey = {value}\n"), 2).unwrap_err();
            assert!(error.message().contains(why), "{value}: {error}");
        }
        let text = "[user]\nname = a\nsigningkey = /a\n[gpg]\nsigningkey = /b";
        assert_eq!(signing_key(text, 2).unwrap_err().advice(), Some("it is on line 3"));
        assert!(signing_key(text, 5).is_err());
        assert!(signing_key("", 0).is_err());
    }
}
