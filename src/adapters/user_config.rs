//! The user's own configuration: what a repository must never decide. Which plugins may run, and which SSH keys are
//! tried.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::adapters::fs::files;
use crate::domain::name::nearest;
use crate::error::{Error, Result};

/// The file's name, in sealift's configuration directory.
pub const FILE: &str = "config.toml";
/// The most bytes that are read of it.
const LIMIT: u64 = 1 << 20;
/// Every key that it may hold.
const KEYS: [&str; 2] = ["identities", "plugins"];

/// What the user's configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserConfig {
    /// The plugins that may run, as in `age-plugin-NAME`.
    pub plugins: BTreeSet<String>,
    /// SSH keys and identity files that are tried after all others.
    pub identities: Vec<PathBuf>,
}

impl UserConfig {
    /// Reads it. No file: nothing is allowed and nothing is named.
    ///
    /// # Errors
    /// When others can write it, or something in it is not understood: a misspelt key must not pass for its absence.
    pub fn load(path: &Path, home: Option<&Path>) -> Result<Self> {
        // A home kept elsewhere links it into the Nix store: what it leads to is read and checked.
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        };
        let shown = path.display().to_string();
        let stat = std::fs::metadata(&real).map_err(|error| Error::io(format!("cannot look at {shown}"), error))?;
        let ours = stat.uid() == 0 || stat.uid() == rustix::process::geteuid().as_raw();
        if stat.permissions().mode() & 0o022 != 0 || !ours {
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
                words.flatten().ok_or_else(|| Error::usage(format!("{shown}: {key}: a list of texts is wanted")))
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

/// The alphabet of plugin names, checked before anything is looked up: the name becomes a program's.
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
    fn what_is_not_understood_is_an_error_with_its_mend() {
        for (text, what) in [
            ("plugin = []", "did you mean `plugins`?"),
            ("plugins = \"x\"", "a list of texts"),
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
