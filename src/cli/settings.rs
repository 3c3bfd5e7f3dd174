//! What the environment, the user's configuration and the clock say for a verb.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::adapters::age::discovery::{CREDENTIAL, DEFAULT_FILE, Places};
use crate::adapters::age::identity::Plugins;
use crate::adapters::editor::scratch::Surroundings;
use crate::adapters::editor::{Editor, split};
use crate::adapters::pager::Pager;
use crate::adapters::user_config::{self, UserConfig};
use crate::cli::environment::{IDENTITY, as_set, variable, working_directory};
use crate::commands::fleet::identity::Configuration;
use crate::commands::scan::index::KeyAt;
use crate::error::{Error, Result};

/// Names the file with the key of the index of values (a path, never a key).
const INDEX_KEY: &str = "SEALIFT_INDEX_KEY";
/// What that key is called among the credentials of a unit.
const INDEX_CREDENTIAL: &str = "sealift-index-key";

/// What names the editor, the first that is set.
const EDITORS: [&str; 3] = ["SEALIFT_EDITOR", "VISUAL", "EDITOR"];

/// What names the pager, the first that is set.
const PAGERS: [&str; 2] = ["SEALIFT_PAGER", "PAGER"];

/// Where identities are looked for: what was named for this run, else the usual places.
pub fn places(named: &[PathBuf], config: &UserConfig) -> Places {
    let named =
        if named.is_empty() { variable(IDENTITY).map(PathBuf::from).into_iter().collect() } else { named.to_vec() };
    Places {
        named,
        credential: variable("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(directory).join(CREDENTIAL)),
        default_file: config_directory().map(|directory| directory.join(DEFAULT_FILE)),
        configured: config.identities.clone(),
        ssh: home().map(|home| home.join(".ssh")),
    }
}

/// Where the user's configuration is, for what is added to it.
pub fn configuration() -> Configuration {
    let directory = config_directory();
    let file = |name| directory.as_ref().map(|directory| directory.join(name));
    Configuration { file: file(user_config::FILE), home: home(), usual: file(DEFAULT_FILE) }
}

/// Where the key of the index of values is looked for, besides the keyring: what was named for this run, else a credential.
pub fn index_key(named: Option<&PathBuf>) -> KeyAt {
    KeyAt {
        named: named.cloned().or_else(|| variable(INDEX_KEY).map(PathBuf::from)),
        credential: variable("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(directory).join(INDEX_CREDENTIAL)),
    }
}

/// The user's home, as the session says; nothing else is asked.
pub fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

/// sealift's own directory among the user's configuration.
pub fn config_directory() -> Option<PathBuf> {
    let configured = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(configured.or_else(|| Some(home()?.join(".config")))?.join("sealift"))
}

/// sealift's own directory among what programs keep for the user.
pub fn state_directory() -> Option<PathBuf> {
    let kept = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(kept.or_else(|| Some(home()?.join(".local/state")))?.join("sealift"))
}

pub fn user_config() -> Result<UserConfig> {
    match config_directory() {
        Some(directory) => UserConfig::load(&directory.join(user_config::FILE), home().as_deref()),
        None => Ok(UserConfig::default()),
    }
}

/// Which plugins may run. None may where the environment would make the library print keys, or let a program be found
/// in the working directory, which may be a repository.
pub fn plugins(config: &UserConfig) -> Plugins {
    let listed_in = config_directory().map_or_else(
        || user_config::FILE.to_owned(),
        |directory| directory.join(user_config::FILE).display().to_string(),
    );
    let refused = if variable("AGEDEBUG").is_some() {
        Some("AGEDEBUG is set, and would print keys")
    } else if variable("PATH").is_some_and(|path| std::env::split_paths(&path).any(|entry| !entry.is_absolute())) {
        Some("PATH holds a relative entry, which leads into the current repository")
    } else {
        None
    };
    Plugins { allowed: config.plugins.clone(), listed_in, refused }
}

pub fn editor() -> Result<Editor> {
    let named = EDITORS.iter().find_map(|name| Some((*name, variable(name)?)));
    let (name, text) = named.ok_or_else(|| {
        Error::usage("no editor is named: EDITOR is not set").help(
            "name one, such as `EDITOR=vim sealift edit NAME`; or give the value with `sealift rotate NAME --stdin`",
        )
    })?;
    Editor::parse(name, &text, &working_directory())
}

/// The user's directory for sockets and the like.
pub fn runtime() -> Option<PathBuf> {
    variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Where values may be edited, and who helps.
pub fn surroundings() -> Surroundings {
    let runtime = runtime();
    Surroundings {
        places: runtime.into_iter().chain([PathBuf::from("/dev/shm")]).filter(|place| place.is_dir()).collect(),
        program: std::env::current_exe().ok(),
        locale: locale(),
    }
}

/// The user's language, for programs that talk to the person.
pub fn locale() -> Option<OsString> {
    variable("LC_ALL")
}

/// The user's pager: the first variable that is set, where an empty one means none; else less. One that is not understood is
/// none either.
pub fn pager() -> Option<Pager> {
    let named = PAGERS.iter().find_map(|name| as_set(name)).unwrap_or_else(|| "less".into());
    Pager::new(split(named.to_str()?)?, variable("LESS").is_none())
}

pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Today, in UTC.
pub fn today() -> jiff::civil::Date {
    now().to_zoned(jiff::tz::TimeZone::UTC).date()
}
