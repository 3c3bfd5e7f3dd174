//! The user's own configuration, for what a repository must never decide: which plugins may run, and which identity
//! files are tried. Only the user writes it; sealift adds only an identity that the
//! user names, and its plugin.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Value};

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::fs::owner::{Others, Owner, is_of};
use crate::domain::name::nearest;
use crate::error::{Error, Result};

pub const FILE: &str = "config.toml";
const LIMIT: u64 = 1 << 20;
/// All valid keys.
const KEYS: [&str; 2] = ["identities", "plugins"];

/// The content of the user's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserConfig {
    pub plugins: BTreeSet<String>,
    /// SSH keys and identity files that are tried after all others.
    pub identities: Vec<PathBuf>,
}

impl UserConfig {
    /// Reads the configuration. Without a file, nothing is allowed or listed.
    pub fn load(path: &Path, home: Option<&Path>) -> Result<Self> {
        // A home kept elsewhere may link it into the Nix store: the target is read and checked.
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        };
        let shown = path.display().to_string();
        let stat = rustix::fs::stat(&real).map_err(|error| Error::io(format!("cannot look at {shown}"), error))?;
        if !is_of(&stat, Owner::RootOrUs, Others::Readers) {
            return Err(Error::usage(format!("{shown} can be written by others; it decides which programs run"))
                .help(format!("chmod 644 {shown}, once you have read it")));
        }
        let text = String::from_utf8(files::read(&real, LIMIT)?)
            .map_err(|_| Error::usage(format!("{shown} is not UTF-8 text")))?;
        Self::parse(&text, &shown, home)
    }

    fn parse(text: &str, shown: &str, home: Option<&Path>) -> Result<Self> {
        let table: toml::Table = text.parse().map_err(|fault: toml::de::Error| {
            let line = text.get(..fault.span().map_or(0, |span| span.start)).unwrap_or(text).lines().count().max(1);
            Error::usage(format!("{shown}:{line}: not valid TOML here"))
        })?;
        let mut config = Self::default();
        for (key, value) in &table {
            let words = || {
                let words =
                    value.as_array().map(|list| list.iter().map(toml::Value::as_str).collect::<Option<Vec<_>>>());
                words.flatten().ok_or_else(|| Error::usage(format!("{shown}: {key}: must be a list of strings")))
            };
            match key.as_str() {
                "plugins" => {
                    for name in words()? {
                        if !is_plugin(name) {
                            return Err(Error::usage(format!("{shown}: plugins: not the name of a plugin"))
                                .help("the NAME of a program age-plugin-NAME"));
                        }
                        config.plugins.insert(name.to_owned());
                    }
                }
                "identities" => {
                    for path in words()? {
                        config.identities.push(expanded(path, home).ok_or_else(|| {
                            Error::usage(format!("{shown}: identities: not an absolute path"))
                                .help("begin it with `/`, or with `~/`")
                        })?);
                    }
                }
                _ => {
                    let error = Error::usage(format!(
                        "{shown}: unknown key `{}`",
                        key.chars().take(40).collect::<String>().escape_debug()
                    ));
                    return Err(match nearest(key, KEYS) {
                        Some(near) => error.help(format!("did you mean `{near}`?")),
                        None => error.help(format!("known: {}", KEYS.join(", "))),
                    });
                }
            }
        }
        Ok(config)
    }
}

/// An identity file and its plugin, to be added to the configuration when the user asks for it.
#[derive(Debug)]
pub struct Listing {
    path: PathBuf,
    before: Option<Vec<u8>>,
    after: String,
    mode: u32,
}

impl Listing {
    /// The change to be written, keeping comments and order; `None` if both are listed already.
    pub fn new(path: &Path, home: Option<&Path>, plugin: Option<&str>, identity: &Path) -> Result<Option<Self>> {
        let shown = path.display().to_string();
        let config = UserConfig::load(path, home)?;
        let allowed = plugin.is_none_or(|plugin| config.plugins.contains(plugin));
        let there = (allowed, config.identities.iter().any(|known| known == identity));
        if there == (true, true) {
            return Ok(None);
        }
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let below = home.and_then(|home| identity.strip_prefix(home).ok());
        let text = below.map_or_else(|| identity.to_owned(), |below| Path::new("~").join(below));
        let text = text
            .to_str()
            .ok_or_else(|| Error::usage(format!("{} is not UTF-8, and cannot stand in {shown}", identity.display())))?;
        let folder = real.parent().unwrap_or(Path::new("/"));
        if real.starts_with("/nix/store") || rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err() {
            let error = Error::usage(format!("{shown} must list the identity, and cannot be written"));
            let plugins = plugin.map_or_else(String::new, |plugin| format!("`plugins = [\"{plugin}\"]` and "));
            return Err(error.help(format!(
                "write {plugins}`identities = [\"{text}\"]` in what makes that file, then run this again"
            )));
        }
        let before = if real.exists() { Some(files::read(&real, LIMIT)?) } else { None };
        let odd = || Error::usage(format!("{shown} cannot be edited")).help("check that it is valid TOML");
        let old = std::str::from_utf8(before.as_deref().unwrap_or_default()).map_err(|_| odd())?;
        let mut document: DocumentMut = old.parse().map_err(|_| odd())?;
        for (key, value, there) in [("plugins", plugin, there.0), ("identities", Some(text), there.1)] {
            if let Some(value) = value.filter(|_| !there) {
                let list = document.entry(key).or_insert_with(|| Item::Value(Value::Array(Array::new())));
                list.as_array_mut().ok_or_else(odd)?.push(value);
            }
        }
        let after = document.to_string();
        UserConfig::parse(&after, &shown, home)?;
        let mode = real.metadata().map_or(0o600, |stat| stat.permissions().mode() & 0o777);
        Ok(Some(Self { path: real, before, after, mode }))
    }

    /// Writes the change. If this fails, the file is unchanged.
    pub fn write(&self) -> Result<()> {
        files::replace(&self.path, self.after.as_bytes(), self.mode, Durable::Now)
    }

    /// Restores the previous content.
    pub fn undo(&self) -> Result<()> {
        match &self.before {
            Some(before) => files::replace(&self.path, before, self.mode, Durable::Now),
            None => files::remove(&self.path),
        }
    }
}

/// Checks a plugin name before anything is looked up: it becomes part of a program name.
pub fn is_plugin(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-._".contains(&b))
}

fn expanded(path: &str, home: Option<&Path>) -> Option<PathBuf> {
    match path.strip_prefix("~/") {
        Some(rest) => home.map(|home| home.join(rest)),
        None => Some(PathBuf::from(path)).filter(|path| path.is_absolute()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<UserConfig> {
        UserConfig::parse(text, "config.toml", Some(Path::new("/home/jay")))
    }

    #[test]
    fn what_it_names_is_taken() {
        let config = parse("plugins = [\"yubikey\"]\nidentities = [\"~/.ssh/id_ed25519\", \"/k\"]\n").unwrap();
        assert!(config.plugins.contains("yubikey"));
        assert_eq!(config.identities, [PathBuf::from("/home/jay/.ssh/id_ed25519"), PathBuf::from("/k")]);
        assert_eq!(parse("").unwrap(), UserConfig::default());
    }

    #[test]
    fn a_place_is_added_once_and_the_rest_stays() {
        let place = tempfile::tempdir().unwrap();
        let (home, path) = (place.path(), place.path().join(".config/sealift/config.toml"));
        let add = |identity: &Path| {
            Listing::new(&path, Some(home), None, identity).and_then(|new| new.map_or(Ok(()), |new| new.write()))
        };
        let text = || std::fs::read_to_string(&path).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        add(&home.join("jay.key")).unwrap();
        assert_eq!(text(), "identities = [\"~/jay.key\"]\n");
        std::fs::write(&path, "# mine\nidentities = [\"~/jay.key\"] # here\nplugins = [\"x\"]\n").unwrap();
        add(&home.join("jay.key")).unwrap();
        add(Path::new("/media/stick/a b.key")).unwrap();
        let all = "# mine\nidentities = [\"~/jay.key\", \"/media/stick/a b.key\"] # here\nplugins = [\"x\"]\n";
        assert_eq!(text(), all);
        // A file that others can write or that is invalid is left unchanged; a symlink stays a symlink.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(add(Path::new("/k")).is_err() && text() == all);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::rename(&path, home.join("elsewhere.toml")).unwrap();
        std::os::unix::fs::symlink(home.join("elsewhere.toml"), &path).unwrap();
        add(Path::new("/k")).unwrap();
        assert!(text().contains("\"/k\"") && path.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        std::fs::write(&path, "identitys = []\n").unwrap();
        assert!(add(Path::new("/l")).is_err() && text() == "identitys = []\n");
    }

    #[test]
    fn a_listing_keeps_what_is_there_and_can_be_taken_back() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("config.toml");
        let key = place.path().join("yubikey.txt");
        let listing = || Listing::new(&path, None, Some("yubikey"), &key);
        let new = listing().unwrap().unwrap();
        new.write().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(listing().unwrap().is_none());
        new.undo().unwrap();
        assert!(!path.exists());

        let before = "# mine\nidentities = [\"/k\"] # first\n";
        std::fs::write(&path, before).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let new = listing().unwrap().unwrap();
        new.write().unwrap();
        let config = UserConfig::load(&path, None).unwrap();
        assert_eq!(config.identities, [PathBuf::from("/k"), key.clone()]);
        assert!(config.plugins.contains("yubikey"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# mine\n") && text.contains("# first"), "{text}");
        new.undo().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        // A symlink stays a symlink, and a path below the home starts with `~`.
        let link = place.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Listing::new(&link, Some(place.path()), Some("yubikey"), &key).unwrap().unwrap().write().unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"~/yubikey.txt\""));
        assert!(Listing::new(&link, Some(place.path()), Some("yubikey"), &key).unwrap().is_none());

        // A file that others can write is not changed, and neither is one that cannot be parsed.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(listing().unwrap_err().message().contains("written by others"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&path, "plugins = \"yubikey\"\n").unwrap();
        assert!(listing().unwrap_err().message().contains("a list of strings"));
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_fix() {
        for (text, what) in [
            ("plugin = []", "did you mean `plugins`?"),
            ("plugins = \"x\"", "a list of strings"),
            ("plugins = [\"../x\"]", "not the name of a plugin"),
            ("plugins = [\"\"]", "not the name of a plugin"),
            ("identities = [\"id\"]", "not an absolute path"),
            ("\n\nx = [", "config.toml:3"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(format!("{error:?} {:?}", error.advice()).contains(what), "{text}: {error:?}");
        }
    }
}
