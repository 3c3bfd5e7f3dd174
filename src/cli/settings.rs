//! Settings from the environment, the user's configuration and the clock.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::adapters::age::discovery::{CREDENTIAL, DEFAULT_FILE, Places};
use crate::adapters::age::identity::Plugins;
use crate::adapters::editor::Surroundings;
use crate::adapters::editor::{Editor, split};
use crate::adapters::pager::Pager;
use crate::adapters::user_config::{self, UserConfig};
use crate::cli::environment::{IDENTITY, as_set, variable, working_directory};
use crate::commands::fleet::identity::Configuration;
use crate::commands::scan::index::KeyAt;
use crate::error::{Error, Result};

/// The variable with the path of the key file for the index of values, never a key.
const INDEX_KEY: &str = "SEALIFT_INDEX_KEY";
/// The name of that key among the credentials of a unit.
const INDEX_CREDENTIAL: &str = "sealift-index-key";

/// The variables for the editor; the first one set is used.
const EDITORS: [&str; 3] = ["SEALIFT_EDITOR", "VISUAL", "EDITOR"];

/// The variables for the pager; the first one set is used.
const PAGERS: [&str; 2] = ["SEALIFT_PAGER", "PAGER"];

/// Returns where to look for identities: those given for this run, or else the default places.
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

/// Returns where the user's configuration is, in order to add to it.
pub fn configuration() -> Configuration {
    let directory = config_directory();
    let file = |name| directory.as_ref().map(|directory| directory.join(name));
    Configuration { file: file(user_config::FILE), home: home(), usual: file(DEFAULT_FILE) }
}

/// Returns where to look for the key of the index of values, besides the keyring: given for this run, or a credential.
pub fn index_key(named: Option<&PathBuf>) -> KeyAt {
    KeyAt {
        named: named.cloned().or_else(|| variable(INDEX_KEY).map(PathBuf::from)),
        credential: variable("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(directory).join(INDEX_CREDENTIAL)),
    }
}

/// Returns the user's home directory from HOME only.
pub fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

/// Returns sealift's directory in the user's configuration.
pub fn config_directory() -> Option<PathBuf> {
    let configured = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(configured.or_else(|| Some(home()?.join(".config")))?.join("sealift"))
}

/// Returns sealift's directory in the user's state.
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

/// Returns which plugins may run. None may if the environment would make the library print keys, or find a program in
/// the working directory, which may be a repository.
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

/// Returns the user's runtime directory.
pub fn runtime() -> Option<PathBuf> {
    variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns where values may be edited, and which program helps.
pub fn surroundings() -> Surroundings {
    let runtime = runtime();
    Surroundings {
        places: runtime.into_iter().chain([PathBuf::from("/dev/shm")]).filter(|place| place.is_dir()).collect(),
        program: std::env::current_exe().ok(),
        locale: locale(),
    }
}

/// Returns the user's locale, for programs that talk to the user.
pub fn locale() -> Option<OsString> {
    variable("LC_ALL")
}

/// Returns the user's pager: from the first variable that is set, or else less. None if that variable is empty or
/// invalid.
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
