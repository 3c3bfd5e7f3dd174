//! Parses what a plugin prints when it makes a key, which is also the content of the key's file: comments, one of which
//! names the recipient, and the identity. The text is untrusted: it must have exactly one identity of that plugin and
//! one recipient.

use crate::domain::foreign;
use crate::domain::secret::recipient::{Key, Recipient};
use crate::error::{Error, Result};

/// How many comments are kept, and how many characters of each.
const REMARKS: (usize, usize) = (32, 200);

/// A key that a plugin made.
#[derive(Debug)]
pub struct Printed {
    /// `AGE-PLUGIN-NAME-1…`: where to find the key.
    pub identity: String,
    pub recipient: Recipient,
    remarks: Vec<String>,
}

impl Printed {
    /// Parses the output of the plugin with this name.
    pub fn read(printed: &[u8], plugin: &str) -> Result<Self> {
        let wrong = |what: &str| Error::failed(format!("age-plugin-{plugin} printed {what}; nothing of it is used"));
        let text = std::str::from_utf8(printed).map_err(|_| wrong("what is not text"))?;
        let (mut identities, mut recipients, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(named) = labelled(line) {
                let recipient = Recipient::parse(named).map_err(|_| wrong("a recipient that cannot be used"))?;
                if !recipients.contains(&recipient) {
                    recipients.push(recipient);
                }
            } else if line.starts_with('#') {
                remarks.push(foreign::cut(&foreign::one_line(line), REMARKS.1));
            } else {
                let identity = line.parse::<age::plugin::Identity>().ok().filter(|key| key.plugin() == plugin);
                identities.push(identity.ok_or_else(|| wrong("a line that is no identity of its own"))?.to_string());
            }
        }
        remarks.truncate(REMARKS.0);
        let [identity] = identities.as_slice() else {
            return Err(wrong(if identities.is_empty() { "no identity" } else { "several identities" }));
        };
        let [recipient] = recipients.as_slice() else {
            return Err(wrong(if recipients.is_empty() { "no recipient" } else { "several recipients" }));
        };
        let foreign = match recipient.key() {
            Key::X25519(_) | Key::Tag(_) | Key::TagPq(_) => false,
            Key::Plugin(key) => key.plugin() != plugin,
            Key::Ssh(_) => true,
        };
        if foreign {
            return Err(wrong("the recipient of another program"));
        }
        Ok(Self { identity: identity.clone(), recipient: recipient.clone(), remarks })
    }

    /// The content of the identity file.
    pub fn content(&self) -> String {
        let named = format!("# Recipient: {}", self.recipient.canonical());
        let lines = self.remarks.iter().chain([&named, &self.identity]);
        lines.flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// The recipient named by a comment in an identity file, in the form that all plugins and age-keygen use.
pub fn noted(line: &str) -> Option<Recipient> {
    Recipient::parse(labelled(line)?).ok()
}

fn labelled(line: &str) -> Option<&str> {
    let (label, value) = line.trim().strip_prefix('#')?.split_once(':')?;
    let label = label.trim();
    (label.eq_ignore_ascii_case("recipient") || label.eq_ignore_ascii_case("public key")).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An identity in the form that `age-plugin-NAME` prints.
    fn identity(name: &str) -> String {
        age::plugin::Identity::default_for_plugin(name).unwrap().to_string()
    }

    fn native() -> String {
        age::x25519::Identity::generate().to_public().to_string()
    }

    #[test]
    fn each_plugins_own_form_is_read() {
        let key = native();
        for (name, text) in [
            ("yubikey", format!("#       Serial: 1, Slot: 1\n#    Recipient: {key}\n{}\n", identity("yubikey"))),
            ("tpm", format!("# Created: 2026-11-28\n# Recipient: {key}\n\n{}\n", identity("tpm"))),
            (
                "fido2-hmac",
                format!(
                    "# created: 2026\n# public key: {key}\n# public key (pq safe): age1pq1qq\n{}\n",
                    identity("fido2-hmac")
                ),
            ),
        ] {
            let printed = Printed::read(text.as_bytes(), name).unwrap();
            assert_eq!((printed.recipient.canonical(), printed.identity.as_str()), (key.as_str(), &*identity(name)));
            let content = printed.content();
            assert_eq!(Printed::read(content.as_bytes(), name).unwrap().content(), content);
            assert_eq!(content.lines().find_map(noted).unwrap().canonical(), key);
        }
    }

    #[test]
    fn anything_else_is_refused_without_a_quote() {
        let (key, own) = (native(), identity("yubikey"));
        let secret = "AGE-SECRET-KEY-1AAAA";
        for (text, what) in [
            (String::new(), "no identity"),
            (own.clone(), "no recipient"),
            (format!("# Recipient: {key}\n"), "no identity"),
            (format!("# Recipient: {key}\n{own}\n{own}\n"), "several identities"),
            (format!("# Recipient: {key}\n# public key: {}\n{own}\n", native()), "several recipients"),
            (format!("# Recipient: {key}\n{}\n", identity("evil")), "no identity of its own"),
            (format!("# Recipient: {key}\n{secret}\n"), "no identity of its own"),
            (format!("# Recipient: {secret}\n{own}\n"), "cannot be used"),
            (format!("# Recipient: age1pq1qq\n{own}\n"), "cannot be used"),
            (format!("# Recipient: {key}\n\u{1b}[2J{own}\n"), "no identity of its own"),
        ] {
            let error = Printed::read(text.as_bytes(), "yubikey").unwrap_err();
            assert!(error.message().contains(what), "{text:?}: {error:?}");
            assert!(!error.message().contains("AAAA") && !error.message().contains('\u{1b}'), "{error:?}");
        }
        let error = Printed::read(b"\xff\xfe", "yubikey").unwrap_err();
        assert!(error.message().contains("not text"), "{error:?}");
    }

    #[test]
    fn remarks_are_bounded_and_do_nothing_to_a_terminal() {
        let (key, own) = (native(), identity("tpm"));
        let text =
            format!("# \u{1b}]0;x\u{7}{}\n{}# Recipient: {key}\n{own}\n", "y".repeat(9999), "# more\n".repeat(99));
        let content = Printed::read(text.as_bytes(), "tpm").unwrap().content();
        assert!(content.starts_with("# \\u{1b}]0;x") && content.len() < 1000, "{content}");
        assert!(!content.chars().any(|c| c != '\n' && foreign::acts(c)));
    }
}
