//! age plugins: programs that hold a key elsewhere, such as on a hardware token. They run only if the user's own
//! configuration lists them, time out after a minute of silence, and their output is untrusted.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use age::plugin::{IdentityPluginV1, RecipientPluginV1};
use age::{DecryptError, EncryptError};
use age_core::format::{FileKey, Stanza};
use secrecy::SecretString;

use crate::adapters::process::{path, timeout};
use crate::adapters::prompt::Ask;
use crate::error::{Error, Kind, Result};

/// How long a plugin may be silent. Time that the user takes to answer it does not count.
const LIMIT: Duration = Duration::from_secs(60);

/// The plugins that the user allows to run. A line in a repository must never start a program.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    /// The names: NAME in `age-plugin-NAME`.
    pub allowed: BTreeSet<String>,
    /// The file with the list, for help texts.
    pub listed_in: String,
    /// Why no plugin may run now, even if it is listed.
    pub refused: Option<&'static str>,
}

impl Plugins {
    /// Refuses a plugin that is not on the user's list, before looking anything up. Returns the program's path, if
    /// there is one.
    fn allow(&self, name: &str) -> Result<Option<PathBuf>> {
        let shown = if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b)) { name } else { "…" };
        if !self.allowed.contains(name) {
            return Err(Error::usage(format!("the plugin age-plugin-{shown} is not allowed to run"))
                .help(format!("if you trust it, add `plugins = [\"{shown}\"]` to {}", self.listed_in)));
        }
        let refused = |why: &str| Err(Error::usage(format!("the plugin age-plugin-{shown} is not run: {why}")));
        if let Some(why) = self.refused {
            return refused(why);
        }
        // The library always starts the first match in PATH.
        match path::first(format!("age-plugin-{name}")) {
            Some(program) if path::is_of_a_work_tree(&program) => refused(&format!(
                "{} lies in the repository, where anyone who can write to it could have put it",
                program.display()
            )),
            program => Ok(program),
        }
    }

    /// The path of an allowed plugin's program.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        self.allow(name)?.ok_or_else(|| missing(name))
    }

    /// A plugin's recipient, ready for sealing.
    pub fn recipient(
        &self,
        key: &age::plugin::Recipient,
        ask: &Arc<dyn Ask>,
    ) -> Result<Box<dyn age::Recipient + Send + Sync>> {
        self.allow(key.plugin())?;
        let talk = Talk::new(key.plugin(), ask);
        let plugin = RecipientPluginV1::new(key.plugin(), std::slice::from_ref(key), &[], talk.clone());
        Ok(Box::new(Sealing { plugin: Arc::new(plugin.map_err(|_| missing(key.plugin()))?), talk }))
    }

    /// A plugin's identity, ready for opening.
    pub fn identity(
        &self,
        key: &age::plugin::Identity,
        ask: &Arc<dyn Ask>,
    ) -> Result<Box<dyn age::Identity + Send + Sync>> {
        self.allow(key.plugin())?;
        let talk = Talk::new(key.plugin(), ask);
        let plugin = IdentityPluginV1::new(key.plugin(), std::slice::from_ref(key), talk.clone());
        Ok(Box::new(Opening { plugin: Arc::new(plugin.map_err(|_| missing(key.plugin()))?), talk }))
    }
}

struct Sealing {
    plugin: Arc<RecipientPluginV1<Talk>>,
    talk: Talk,
}

impl age::Recipient for Sealing {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        use secrecy::ExposeSecret;
        let plugin = Arc::clone(&self.plugin);
        let copy = FileKey::new(Box::new(*file_key.expose_secret()));
        let answer = self.talk.bounded(move || plugin.wrap_file_key(&copy));
        answer.unwrap_or_else(|error| Err(EncryptError::Io(std::io::Error::other(error.message()))))
    }
}

struct Opening {
    plugin: Arc<IdentityPluginV1<Talk>>,
    talk: Talk,
}

impl age::Identity for Opening {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let plugin = Arc::clone(&self.plugin);
        let copy =
            |stanza: &Stanza| Stanza { tag: stanza.tag.clone(), args: stanza.args.clone(), body: stanza.body.clone() };
        let stanzas: Vec<_> = stanzas.iter().map(copy).collect();
        let answer = self.talk.bounded(move || age::Identity::unwrap_stanzas(&*plugin, &stanzas));
        answer.unwrap_or_else(|error| Some(Err(DecryptError::Io(std::io::Error::other(error.message())))))
    }
}

/// The user's side of the plugin protocol, and when the plugin was last active.
#[derive(Clone)]
struct Talk {
    program: String,
    ask: Arc<dyn Ask>,
    heard: Arc<Mutex<Instant>>,
    asking: Arc<AtomicBool>,
}

impl Talk {
    fn new(plugin: &str, ask: &Arc<dyn Ask>) -> Self {
        Self {
            program: format!("age-plugin-{plugin}"),
            ask: ask.clone(),
            heard: Arc::new(Mutex::new(Instant::now())),
            asking: Arc::default(),
        }
    }

    fn bounded<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let late = |started: Instant| {
            let heard = self.heard.lock().map_or(started, |heard| *heard);
            !self.asking.load(Ordering::Relaxed) && heard.max(started).elapsed() > LIMIT
        };
        timeout::call(&self.program, late, work)
    }

    /// Runs an interaction with the user, during which the timeout is suspended.
    fn during<T>(&self, talk: impl FnOnce() -> T) -> T {
        self.asking.store(true, Ordering::Relaxed);
        let answer = talk();
        if let Ok(mut heard) = self.heard.lock() {
            *heard = Instant::now();
        }
        self.asking.store(false, Ordering::Relaxed);
        answer
    }
}

impl age::Callbacks for Talk {
    fn display_message(&self, message: &str) {
        self.during(|| self.ask.tell(&format!("{}: {message}", self.program)));
    }

    fn confirm(&self, message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        self.during(|| self.ask.confirm(&format!("{}: {message}", self.program)).ok())
    }

    fn request_public_string(&self, _description: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.during(|| self.ask.passphrase(&format!("{} ({description})", self.program)).ok())
    }
}

/// The error for a missing plugin program. nixpkgs packages have the same names as the programs.
fn missing(name: &str) -> Error {
    Error::new(Kind::NoIdentity, format!("the program age-plugin-{name} is not installed, or not in PATH")).help(format!(
        "its package in nixpkgs has the same name: `environment.systemPackages = [ pkgs.age-plugin-{name} ];`, or for now `nix shell nixpkgs#age-plugin-{name}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_plugins_run_and_none_while_it_is_refused() {
        let mut plugins =
            Plugins { allowed: ["yubikey".to_owned()].into(), listed_in: "config.toml".into(), ..Plugins::default() };
        assert!(plugins.allow("yubikey").is_ok());
        assert!(plugins.allow("evil").unwrap_err().advice().unwrap().contains("config.toml"));
        assert!(!format!("{:?}", plugins.allow("../\u{1b}x").unwrap_err()).contains('\u{1b}'));
        plugins.refused = Some("AGEDEBUG is set");
        assert!(plugins.allow("yubikey").is_err());
    }
}
