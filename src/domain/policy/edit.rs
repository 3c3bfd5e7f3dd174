//! Edits of recipients.toml: text in, text out, with comments and order preserved. The caller parses the result before
//! writing it, so no edit can make the policy invalid.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

use crate::domain::name::{AdminName, Configuration, FileName, HostName, SecretName, Tag};
use crate::domain::policy::Selector;
use crate::domain::policy::generate::Generate;
use crate::domain::policy::paths::{DELIVERED, DELIVERED_FOR_USERS};
use crate::domain::secret::recipient::Recipient;
use crate::error::{Error, Result};

/// The declaration of a new secret. `None` and empty mean the default, and are not written.
#[derive(Clone, Debug, Default)]
pub struct Declaration {
    pub hosts: Vec<String>,
    /// Whether each host has its own value.
    pub per_host: bool,
    /// String fields in the order in which they are written: owner, group, mode, path, shape, rotate_every, …
    pub fields: Vec<(&'static str, String)>,
    /// Units to restart when the value changes.
    pub restart: Vec<String>,
    pub reload: Vec<String>,
    pub needed_for_users: bool,
    /// How new values are generated.
    pub generate: Option<Generate>,
}

/// The text of a policy while it is edited.
pub struct Edit(DocumentMut);

impl Edit {
    pub fn new(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| Error::usage("recipients.toml is not valid TOML"))
    }

    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// Adds a key to an admin, and the admin if missing.
    pub fn add_admin(&mut self, name: &AdminName, key: &Recipient) -> Result<()> {
        let admins = self.table("admins")?;
        let keys = admins.entry(name.as_str()).or_insert_with(|| Item::Value(Value::Array(Array::new())));
        keys.as_array_mut().ok_or_else(|| odd("admins"))?.push(shown(key));
        Ok(())
    }

    /// Removes keys from an admin, and the admin from `[admins]` if no key is left.
    pub fn remove_admin_keys(&mut self, name: &AdminName, keys: &[Recipient]) -> Result<()> {
        let admins = self.table("admins")?;
        let list = admins.get_mut(name.as_str()).and_then(Item::as_array_mut).ok_or_else(|| odd("admins"))?;
        let gone = |text: &str| Recipient::parse(text).is_ok_and(|key| keys.contains(&key));
        list.retain(|key| !key.as_str().is_some_and(gone));
        if list.is_empty() {
            admins.remove(name.as_str());
        }
        Ok(())
    }

    pub fn add_host(
        &mut self,
        name: &HostName,
        configuration: &Configuration,
        keys: &[Recipient],
        address: Option<&str>,
        tags: &[String],
    ) -> Result<()> {
        let mut table = Table::new();
        table.insert("keys", array(keys.iter().map(shown)));
        if configuration.as_str() != name.as_str() {
            table.insert("configuration", configuration.as_str().into());
        }
        if let Some(address) = address {
            table.insert("address", address.into());
        }
        if !tags.is_empty() {
            table.insert("tags", array(tags));
        }
        self.implicit("hosts")?.insert(name.as_str(), Item::Table(table));
        Ok(())
    }

    /// Replaces the keys of a host.
    pub fn set_host_keys(&mut self, name: &HostName, keys: &[Recipient]) -> Result<()> {
        let host = self
            .implicit("hosts")?
            .get_mut(name.as_str())
            .and_then(Item::as_table_like_mut)
            .ok_or_else(|| odd("hosts"))?;
        host.insert("keys", array(keys.iter().map(shown)));
        Ok(())
    }

    /// Removes a host from `[hosts]`, and from every list the host and the tags that no host has any more.
    pub fn remove_host(&mut self, name: &HostName, vanished: &[Tag]) -> Result<()> {
        self.implicit("hosts")?.remove(name.as_str());
        let gone = |word: &str| {
            word == name.as_str()
                || word.strip_prefix('@').is_some_and(|tag| vanished.iter().any(|gone| gone.as_str() == tag))
        };
        for (table, list) in [("secrets", "hosts"), ("checks", "on")] {
            let Some(entries) = self.0.get_mut(table).and_then(Item::as_table_like_mut) else { continue };
            for (_, entry) in entries.iter_mut() {
                if let Some(hosts) =
                    entry.as_table_like_mut().and_then(|entry| entry.get_mut(list)).and_then(Item::as_array_mut)
                {
                    hosts.retain(|host| !host.as_str().is_some_and(gone));
                }
            }
        }
        Ok(())
    }

    /// Records that a host was removed, and its keys.
    pub fn retire(&mut self, name: &HostName, keys: &[Recipient], since: &str) -> Result<()> {
        let retired = self.implicit("retired")?;
        let entry = retired.entry(name.as_str()).or_insert_with(|| Item::Table(Table::new()));
        let entry = entry.as_table_like_mut().ok_or_else(|| odd("retired"))?;
        let mut all = entry.get("keys").and_then(Item::as_array).cloned().unwrap_or_default();
        keys.iter().for_each(|key| all.push(key.canonical()));
        entry.insert("keys", Item::Value(Value::Array(all)));
        entry.insert("since", since.into());
        Ok(())
    }

    pub fn declare(&mut self, name: &SecretName, declaration: &Declaration) -> Result<()> {
        let mut table = Table::new();
        table.insert("hosts", array(&declaration.hosts));
        if declaration.per_host {
            table.insert("per_host", true.into());
        }
        for (field, text) in &declaration.fields {
            table.insert(field, text.as_str().into());
        }
        for (field, units) in [("restart", &declaration.restart), ("reload", &declaration.reload)] {
            if !units.is_empty() {
                table.insert(field, array(units));
            }
        }
        if declaration.needed_for_users {
            table.insert("needed_for_users", true.into());
        }
        if let Some(generate) = declaration.generate {
            table.insert("generate", Item::Value(Value::InlineTable(inline(generate))));
        }
        self.implicit("secrets")?.insert(name.as_str(), Item::Table(table));
        Ok(())
    }

    /// Sets a string field of a declared secret.
    pub fn set_field(&mut self, name: &SecretName, field: &str, text: &str) -> Result<()> {
        let secret = self.implicit("secrets")?.get_mut(name.as_str()).and_then(Item::as_table_like_mut);
        secret.ok_or_else(|| odd("secrets"))?.insert(field, text.into());
        Ok(())
    }

    /// Removes a field of a declared secret.
    pub fn unset_field(&mut self, name: &SecretName, field: &str) -> Result<()> {
        let secret = self.implicit("secrets")?.get_mut(name.as_str()).and_then(Item::as_table_like_mut);
        secret.ok_or_else(|| odd("secrets"))?.remove(field);
        Ok(())
    }

    pub fn undeclare(&mut self, name: &SecretName) -> Result<()> {
        self.implicit("secrets")?.remove(name.as_str());
        Ok(())
    }

    /// Renames a declaration.
    pub fn rename(&mut self, old: &SecretName, new: &SecretName) -> Result<()> {
        let secrets = self.implicit("secrets")?;
        let mut entry = secrets.remove(old.as_str()).ok_or_else(|| odd("secrets"))?;
        // A `path` that spells out the default path is renamed, too.
        if let Some(path) = entry.as_table_like_mut().and_then(|entry| entry.get_mut("path")) {
            for tree in [DELIVERED, DELIVERED_FOR_USERS] {
                if path.as_str() == Some(&format!("{tree}/{old}")) {
                    *path = format!("{tree}/{new}").into();
                }
            }
        }
        secrets.insert(new.as_str(), entry);
        Ok(())
    }

    fn table(&mut self, name: &str) -> Result<&mut Table> {
        let item = self.0.entry(name).or_insert_with(|| Item::Table(Table::new()));
        item.as_table_mut().ok_or_else(|| odd(name))
    }

    /// A table that only holds tables, so that its own header is not written.
    fn implicit(&mut self, name: &str) -> Result<&mut Table> {
        let table = self.table(name)?;
        if table.is_empty() {
            table.set_implicit(true);
        }
        Ok(table)
    }
}

fn array<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> Item {
    let mut array = Array::new();
    words.into_iter().for_each(|word| array.push(word.as_ref()));
    Item::Value(Value::Array(array))
}

fn inline(mut generate: Generate) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("kind", generate.name().into());
    if let Some((field, size)) = generate.size() {
        table.insert(field, i64::from(*size).into());
    }
    table
}

/// A key as it is written: with its comment, which names its owner.
fn shown(key: &Recipient) -> String {
    let comment = key.comment();
    if comment.is_empty() { key.canonical().to_owned() } else { format!("{} {comment}", key.canonical()) }
}

/// The error for a table of recipients.toml in a form that is read but not edited, such as an inline table.
fn odd(name: &str) -> Error {
    Error::usage(format!("`{name}` in recipients.toml is written in a form that sealift reads but does not edit"))
        .help(format!("write it as a table of its own: [{name}]"))
}

pub fn selector_texts(selectors: &[Selector]) -> Vec<String> {
    selectors.iter().map(ToString::to_string).collect()
}

/// The public half of a generated key pair, beside its sealed file.
pub fn public_path(file: &FileName) -> String {
    format!("secrets/{file}.pub")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::parse::parse;

    const TEXT: &str = "# ours\nversion = 1\n\n[admins] # people\njay = [\"KEY1\"]\n\n[hosts.one] # the first\nkeys = [\"KEY2\"]\n\n[secrets.a]\nhosts = [\"one\"] # only\n";

    fn key() -> Recipient {
        Recipient::of_x25519(&age::x25519::Identity::generate())
    }

    fn text() -> String {
        TEXT.replace("KEY1", key().canonical()).replace("KEY2", key().canonical())
    }

    #[test]
    fn what_was_there_stays_to_the_letter() {
        let before = text();
        let mut edit = Edit::new(&before).unwrap();
        let configuration = "Two_1".parse().unwrap();
        edit.add_host(&"two".parse().unwrap(), &configuration, &[key()], Some("jay@two"), &["runner".into()]).unwrap();
        let generate = Some(Generate::Password { length: 40 });
        let declaration = Declaration { hosts: vec!["@runner".into()], generate, ..Declaration::default() };
        edit.declare(&"b/c".parse().unwrap(), &declaration).unwrap();
        let after = edit.text();
        for line in before.lines() {
            assert!(after.contains(line), "{line}\n---\n{after}");
        }
        let policy = parse(&after).unwrap();
        assert_eq!(policy.secrets["b/c"].generate, generate);
        assert_eq!(policy.hosts["two"].address.to_string(), "jay@two");
        assert_eq!(policy.hosts["two"].configuration, configuration);
    }

    #[test]
    fn a_removed_host_is_nowhere_and_remembered() {
        let mut edit = Edit::new(&text()).unwrap();
        let gone = key();
        let two: HostName = "two".parse().unwrap();
        let keys = std::slice::from_ref(&gone);
        edit.add_host(&two, &Configuration::from(&two), keys, None, &["runner".into()]).unwrap();
        assert!(!edit.text().contains("configuration"));
        edit.declare(
            &"b".parse().unwrap(),
            &Declaration { hosts: vec!["one".into(), "two".into(), "@runner".into()], ..Declaration::default() },
        )
        .unwrap();
        edit.remove_host(&"two".parse().unwrap(), &["runner".parse().unwrap()]).unwrap();
        edit.retire(&"two".parse().unwrap(), std::slice::from_ref(&gone), "2026-11-23").unwrap();
        let policy = parse(&edit.text()).unwrap();
        assert_eq!(policy.secrets["b"].hosts.len(), 1);
        assert_eq!(policy.retired["two"].keys, [gone]);
    }

    #[test]
    fn a_renamed_secret_keeps_what_is_declared() {
        let mut edit = Edit::new(&text()).unwrap();
        edit.rename(&"a".parse().unwrap(), &"z/a".parse().unwrap()).unwrap();
        let policy = parse(&edit.text()).unwrap();
        assert!(policy.secrets.contains_key("z/a") && !policy.secrets.contains_key("a"));
        assert_eq!(policy.secrets["z/a"].delivery.path, "/run/sealift/z/a");
    }
}
