//! Classifies failures of ssh by its messages: it has one exit code for all of them.

use crate::error::{Error, Kind};

/// The exit code of ssh's own failures, and for a remote program that was killed by a signal.
pub const OWN: i32 = 255;
/// How many lines of ssh's messages are shown.
const LINES: usize = 4;

/// The host that ssh tried to reach.
pub struct Expected<'a> {
    /// Its label in messages: the host's name, or `jump host gate`.
    pub label: &'a str,
    /// The destination that was tried: `user@name`, with the port if it is not 22.
    pub place: &'a str,
    /// Its pinned fingerprints; empty if the user's known_hosts decides.
    pub pinned: &'a [String],
    /// The host's name in the policy, or its address if it has none.
    pub host: &'a str,
    /// The destination given to ssh, as ssh_config knows it.
    pub address: &'a str,
    /// The jump host it is reached through, if any.
    pub over: Option<&'a str>,
}

/// Whether these are error messages of ssh itself, not of a remote program.
pub fn is_own(said: &str) -> bool {
    let marks =
        ["ssh: connect to host", "Could not resolve hostname", "kex_exchange_identification", "banner exchange"];
    is_denied(said) || is_stranger(said) || marks.iter().any(|mark| said.contains(mark))
}

/// Whether the login was refused, in which case asking the user may help.
pub fn is_denied(said: &str) -> bool {
    ["Permission denied (", "Too many authentication failures"].iter().any(|mark| said.contains(mark))
}

/// Whether the host could not prove its identity.
pub fn is_stranger(said: &str) -> bool {
    ["Host key verification failed", "no matching host key type", "host key is known for"]
        .iter()
        .any(|mark| said.contains(mark))
}

/// The fingerprint of the key that the host presented, if ssh reports it: after a mismatch, or at log level DEBUG1.
pub fn shown_key(said: &str) -> Option<String> {
    let print = |word: &str| {
        let plain = word.trim_end_matches(['.', ',']);
        let rest = plain.strip_prefix("SHA256:")?;
        rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b)).then(|| plain.to_owned())
    };
    let words: Vec<&str> = said.split_whitespace().collect();
    let server = words.windows(4).find_map(|four| match four {
        ["host", "key:", kind, word] => print(word).map(|print| format!("{print} ({kind})")),
        _ => None,
    });
    let changed = || {
        let kind = words.windows(5).find_map(|five| match five {
            ["for", "the", kind, "key", "sent"] => Some(*kind),
            _ => None,
        });
        let print = words.iter().find_map(|word| print(word))?;
        Some(kind.map_or_else(|| print.clone(), |kind| format!("{print} ({kind})")))
    };
    server.or_else(changed)
}

/// Makes an error from ssh's messages. `shown` is the fingerprint that the host presented, if known.
pub fn error(expected: &Expected<'_>, said: &str, shown: Option<&str>) -> Error {
    let Expected { label, place, host, over, .. } = expected;
    // Text about a jump host, with its name, applies to every host behind it.
    let of_all = if label == host { String::new() } else { format!("{label}: ") };
    let refused = |message: String, summary: String| {
        Error::new(Kind::Unreachable, format!("{label}: {message}")).with_summary(of_all.clone() + &summary)
    };
    let has = |marks: &[&str]| marks.iter().any(|mark| said.contains(mark));
    let from = over.map_or_else(String::new, |over| format!(" from {over}"));
    if is_stranger(said) {
        return stranger(expected, said, shown);
    }
    let (error, help) = if has(&["Too many authentication failures"]) {
        (
            refused(
                format!("{place} closes the connection after too many of your keys that it does not know"),
                "the connection is closed after too many of your keys that are not known there".to_owned(),
            ),
            format!(
                "name the one that it knows in ssh_config, and offer no other: `Host {}`, `IdentityFile ~/.ssh/KEY`, `IdentitiesOnly yes`",
                expected.address
            ),
        )
    } else if is_denied(said) {
        (
            refused(format!("{place} refuses the login"), "the login is refused".to_owned()),
            "put your public key into the user's authorized_keys there, load it with `ssh-add`, or name another user in the host's `address`".to_owned(),
        )
    } else if has(&["Could not resolve hostname", "Name or service not known", "name resolution"]) {
        (
            refused(format!("the name of {place} does not resolve{from}"), format!("the name does not resolve{from}")),
            format!("is the name right? If not, correct the `address` of {host}; or give it an alias in ssh_config"),
        )
    } else if has(&["Connection refused"]) {
        (
            refused(format!("{place} refuses connections{from}"), format!("connections are refused{from}")),
            "is sshd running there, and on this port?".to_owned(),
        )
    } else if has(&["No route to host", "Network is unreachable", "Host is down", "Network is down"]) {
        (
            refused(format!("there is no route to {place}{from}"), format!("there is no route{from}")),
            "is it on, and in this network?".to_owned(),
        )
    } else if has(&["banner exchange"]) && has(&["timed out"]) {
        (
            refused(
                format!("{place} accepts the connection and sends nothing{from}"),
                format!("the connection is accepted, and nothing is sent{from}"),
            ),
            "something other than sshd may listen there, or the machine hangs".to_owned(),
        )
    } else if has(&["timed out", "not responding"]) {
        (
            refused(format!("{place} does not answer{from}"), format!("there is no answer{from}")),
            "is it on, and in this network?".to_owned(),
        )
    } else if has(&["administratively prohibited"]) {
        (
            refused(
                format!("{} does not let connections through to {place}", over.unwrap_or("the jump host")),
                format!("{} does not let connections through", over.unwrap_or("the jump host")),
            ),
            "allow TcpForwarding for this user on the jump host".to_owned(),
        )
    } else if has(&["Connection closed", "Connection reset", "closed by remote host", "Broken pipe"]) {
        (
            refused(format!("{place} closes the connection{from}"), format!("the connection is closed{from}")),
            "its log says why (`journalctl -u sshd`); it may have too many connections, or block this address"
                .to_owned(),
        )
    } else {
        (
            refused(format!("no connection to {place}{from}"), format!("there is no connection{from}")),
            format!("try it by hand: `ssh {place}`"),
        )
    };
    // The host is off or unreachable: often temporary, and not a configuration error.
    let away =
        ["resol", "Connection refused", "No route to host", "unreachable", "is down", "timed out", "not responding"];
    let error = if !is_denied(said) && has(&away) { error.passing() } else { error };
    let last = last_lines(said);
    let error = if last.is_empty() { error } else { error.because(last) };
    error.help(help)
}

/// The error for a machine that could not prove to be the host.
fn stranger(expected: &Expected<'_>, said: &str, shown: Option<&str>) -> Error {
    let Expected { label, place, pinned, host, .. } = expected;
    if pinned.is_empty() {
        // Not a host of the fleet: the user decides which key it should have.
        return Error::new(
            Kind::Unreachable,
            format!("{label}: {place} has a host key that your known_hosts does not know"),
        )
        .because(last_lines(said))
        .help("log in there once by hand and compare its fingerprint");
    }
    let shown = shown.map_or_else(|| "a key of another type".to_owned(), str::to_owned);
    Error::new(Kind::Unreachable, format!("{label}: the machine at {place} is not {label}, or its host key changed"))
        .because(format!("it shows {shown}; recipients.toml pins {}; nothing was sent", pinned.join(", ")))
        .help(format!(
            "if it has a new key, compare the fingerprint on its own console, then `sealift host rekey {host} --ssh --fingerprint SHA256:…`; if not, somebody else answers at this address"
        ))
}

/// The last lines of ssh's messages.
pub fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &str) -> String {
        let pinned = ["SHA256:pinned (ED25519)".to_owned()];
        let expected = Expected {
            label: "web",
            place: "jay@web.lan",
            pinned: &pinned,
            host: "web",
            address: "web.lan",
            over: Some("jump host gate"),
        };
        let error = error(&expected, said, shown_key(said).as_deref());
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.advice().is_some(), "{said}");
        error.in_one_line()
    }

    #[test]
    fn each_reason_is_told() {
        for (said, message) in [
            ("ssh: Could not resolve hostname web.lan: Name or service not known", "does not resolve"),
            ("ssh: connect to host web.lan port 22: Connection refused", "refuses connections"),
            ("ssh: connect to host web.lan port 22: No route to host", "there is no route to"),
            ("ssh: connect to host web.lan port 22: Connection timed out", "does not answer"),
            ("Connection timed out during banner exchange\nConnection to web.lan port 22 timed out", "sends nothing"),
            ("jay@web.lan: Permission denied (publickey).", "refuses the login"),
            ("Received disconnect from 10.0.0.5 port 22:2: Too many authentication failures", "too many of your keys"),
            (
                "kex_exchange_identification: Connection closed by remote host",
                "closes the connection from jump host gate",
            ),
            ("something new", "no connection to jay@web.lan from jump host gate: something new"),
        ] {
            let text = told(said);
            assert!(text.starts_with("web: ") && text.contains(message), "{text}");
        }
    }

    #[test]
    fn a_changed_key_is_told_with_both_fingerprints() {
        let said = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nThe fingerprint for the ED25519 key sent by the remote host is\nSHA256:shown+/1.\nPlease contact\nHost key verification failed.";
        let text = told(said);
        assert!(text.contains("SHA256:shown+/1 (ED25519)") && text.contains("SHA256:pinned (ED25519)"), "{text}");
        assert_eq!(
            shown_key("debug1: Server host key: ssh-rsa SHA256:abc\ndebug1: x").as_deref(),
            Some("SHA256:abc (ssh-rsa)")
        );
        // Anything else in that place is not taken for a fingerprint.
        assert_eq!(shown_key("SHA256:\u{1b}[31m"), None);
    }
}
