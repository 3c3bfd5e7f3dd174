//! The SSH address of a host: `user@host`, `ssh://user@host:port`, or an alias from the user's ssh_config.

use std::fmt;
use std::path::Path;

use crate::domain::name::HostName;

/// An address. Each of its parts is a single argument that cannot be taken for an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The user to log in as; `None`: from ssh_config.
    pub user: Option<String>,
    /// The name, alias or IP address (IPv6 without brackets).
    pub host: String,
    /// The port; `None`: from ssh_config.
    pub port: Option<u16>,
}

impl Address {
    pub fn parse(text: &str) -> Option<Self> {
        let (url, rest) = match text.strip_prefix("ssh://") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = if url { host_and_port(place)? } else { (bare(place)?, None) };
        let plain = |text: &str, more: &[u8]| {
            text.as_bytes().first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b':')
                && text.len() <= 255
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        let fits = plain(host, b".-_:%") && user.is_none_or(|user| plain(user, b".-_"));
        fits.then(|| Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }

    /// The host as in a URL.
    pub fn url_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// A host without a port; an IPv6 address may be in brackets.
fn bare(place: &str) -> Option<&str> {
    match place.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|host| host.contains(':')),
        // A single colon would mean a port, which only the URL form supports; ssh would take it as part of the name.
        None => (place.matches(':').count() != 1).then_some(place),
    }
}

/// The host and port of a URL.
fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':').map_or_else(|| port.is_empty().then_some(None), |port| Some(Some(port)))?)
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port =
        port.map(|port| port.parse().ok().filter(|port| *port != 0)).map_or(Some(None), |port| port.map(Some))?;
    Some((host, port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        match self.port {
            Some(port) => write!(f, "ssh://{user}{}:{port}", self.url_host()),
            None => write!(f, "{user}{}", self.url_host()),
        }
    }
}

/// The arguments that name a machine in a command, each preceded by a space, with `--root` unless it is `/`.
pub fn words(host: Option<&HostName>, root: &Path) -> String {
    let host = host.map(|host| format!(" {host}"));
    let root = (root != Path::new("/")).then(|| format!(" --root {}", quoted(&root.display().to_string())));
    host.into_iter().chain(root).collect()
}

/// Quotes a word so that the remote login shell takes it as one word, whether that is sh, bash, zsh or fish: single
/// quotes for everything but the two characters on which these shells differ.
pub fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:,@+".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.to_owned();
    }
    let mut text = String::with_capacity(word.len() + 2);
    for piece in word.split_inclusive(['\'', '\\']) {
        let (plain, special) = match piece.char_indices().next_back() {
            Some((at, c @ ('\'' | '\\'))) => (piece.get(..at).unwrap_or_default(), Some(c)),
            _ => (piece, None),
        };
        if !plain.is_empty() {
            text.extend(["'", plain, "'"]);
        }
        if let Some(c) = special {
            text.extend(['\\', c]);
        }
    }
    if text.is_empty() { "''".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_understood_and_written_again() {
        for (text, user, host, port) in [
            ("web", None, "web", None),
            ("jay@web.lan", Some("jay"), "web.lan", None),
            ("ssh://jay@web:2222", Some("jay"), "web", Some(2222)),
            ("ssh://[fe80::1%eth0]:22", None, "fe80::1%eth0", Some(22)),
            ("root@[::1]", Some("root"), "::1", None),
        ] {
            let address = Address::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((address.user.as_deref(), address.host.as_str(), address.port), (user, host, port), "{text}");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(Address::parse("ssh://web").unwrap().to_string(), "web");
    }

    #[test]
    fn nothing_that_ssh_could_take_for_an_option_or_a_port() {
        for text in [
            "",
            "-oProxyCommand=x",
            "a@-x",
            "-l@x",
            "a b",
            "a;b",
            "a@",
            "@a",
            "web:22",
            "ssh://web:x",
            "ssh://web:0",
            "[web]",
            "a/b",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
