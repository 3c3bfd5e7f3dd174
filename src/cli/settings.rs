//! What is read from outside the command line: the environment, the working directory, the clock. Every variable that
//! sealift reads is listed here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::adapters::age::discovery::{CREDENTIAL, DEFAULT_FILE, Places};
use crate::adapters::age::identity::Plugins;
use crate::adapters::editor::scratch::Surroundings;
use crate::adapters::editor::{Editor, split};
use crate::adapters::host::accounts;
use crate::adapters::pager::Pager;
use crate::adapters::user_config::{self, UserConfig};
use crate::commands::hosts::privilege::Caller;
use crate::commands::scan::index::KeyAt;
use crate::error::{Error, Result};

/// Names the fleet's directory.
pub const FLEET: &str = "SEALIFT_FLEET";
/// Names an identity file (a path, never a key).
pub const IDENTITY: &str = "SEALIFT_IDENTITY";
/// Names the file with the key of the index of values (a path, never a key).
const INDEX_KEY: &str = "SEALIFT_INDEX_KEY";
/// What that key is called among the credentials of a unit.
const INDEX_CREDENTIAL: &str = "sealift-index-key";

/// What names the editor, the first that is set.
const EDITORS: [&str; 3] = ["SEALIFT_EDITOR", "VISUAL", "EDITOR"];

/// What names the pager, the first that is set.
const PAGERS: [&str; 2] = ["SEALIFT_PAGER", "PAGER"];

/// Options that every verb takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The fleet's directory [default: the one that the working directory lies in; env: SEALIFT_FLEET]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub fleet: Option<PathBuf>,
    /// Use only this identity file (may be given again) [env: SEALIFT_IDENTITY]
    #[arg(long, short, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub identity: Vec<PathBuf>,
    /// Read the passphrase, one line, from this open descriptor instead of asking for it
    #[arg(long, global = true, value_name = "N", help_heading = "Everywhere", value_parser = clap::value_parser!(i32).range(0..))]
    pub passphrase_fd: Option<i32>,
    /// Say nothing but errors
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
}

/// Where identities are looked for: what was named for this run, else the usual places.
pub fn places(named: &[PathBuf], config: &UserConfig) -> Places {
    let named =
        if named.is_empty() { variable(IDENTITY).map(PathBuf::from).into_iter().collect() } else { named.to_vec() };
    Places {
        named,
        credential: variable("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(directory).join(CREDENTIAL)),
        default_file: config_directory().map(|directory| directory.join(DEFAULT_FILE)),
        configured: config.identities.clone(),
    }
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

/// The user's own configuration.
///
/// # Errors
/// When it is not understood, or others can write it.
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
        Some("PATH holds a relative entry, which leads into whatever repository this is")
    } else {
        None
    };
    Plugins { allowed: config.plugins.clone(), listed_in, refused }
}

/// Where NixOS has the programs of the running system. A service is told of few of them.
const SYSTEM: &str = "/run/current-system/sw/bin";

/// Where programs are looked for: the absolute entries of PATH, then the running system. An empty or relative one leads into
/// the working directory, which may be a repository that brings a `git` of its own.
pub fn path() -> OsString {
    let entries = variable("PATH").unwrap_or_default();
    let mut absolute: Vec<PathBuf> = std::env::split_paths(&entries).filter(|entry| entry.is_absolute()).collect();
    // An empty PATH is the working directory too: where nothing is left, the system's own default is said.
    if absolute.is_empty() {
        absolute.extend(["/usr/bin", "/bin"].map(PathBuf::from));
    }
    absolute.push(PathBuf::from(SYSTEM));
    std::env::join_paths(absolute).unwrap_or_else(|_| "/usr/bin:/bin".into())
}

/// The user's editor.
///
/// # Errors
/// When none is named.
pub fn editor() -> Result<Editor> {
    let named = EDITORS.iter().find_map(|name| Some((*name, variable(name)?)));
    let (name, text) = named.ok_or_else(|| {
        Error::usage("no editor is named: EDITOR is not set").hint(
            "name one, such as `EDITOR=vim sealift edit NAME`; or give the value with `sealift rotate NAME --stdin`",
        )
    })?;
    Editor::parse(name, &text, &working_directory(), Some(&path()))
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

/// A variable, if it is set and not empty.
pub fn variable(name: &str) -> Option<OsString> {
    as_set(name).filter(|value| !value.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn as_set(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The user's pager: the first variable that is set, where an empty one means none; else less. One that is not understood is
/// none either.
pub fn pager() -> Option<Pager> {
    let named = PAGERS.iter().find_map(|name| as_set(name)).unwrap_or_else(|| "less".into());
    Pager::new(split(named.to_str()?)?, variable("LESS").is_none())
}

/// Where the program was started.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn working_directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

/// Today, in UTC.
pub fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// No core files, no reading of our memory by other processes of the same user.
pub fn keep_to_ourselves() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Both can only fail where the kernel knows neither; there is nothing to do about it then.
    let _unsupported = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _unsupported = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // A umask that takes rights from the owner would make folders that nobody can enter, the owner neither.
    let umask = rustix::process::umask(rustix::fs::Mode::RWXU);
    rustix::process::umask(umask - rustix::fs::Mode::RWXU);
}

/// The user who became root by sudo or doas, else the one who runs this, by number.
pub fn user_behind_root() -> u32 {
    let me = rustix::process::geteuid();
    // Only root's word counts: sudo and doas set these, and anybody could.
    let by_sudo = || variable("SUDO_UID")?.to_str()?.parse().ok();
    let by_doas = || accounts::number_of(variable("DOAS_USER")?.to_str()?);
    me.is_root().then(|| by_sudo().or_else(by_doas)).flatten().unwrap_or(me.as_raw())
}

/// Who calls, for locks and records, and this program's own file.
///
/// # Errors
/// When the kernel does not tell which file this is.
pub fn caller() -> Result<Caller> {
    let program = std::env::current_exe().map_err(|error| Error::io("cannot tell which program this is", error))?;
    let user = ["SUDO_USER", "DOAS_USER", "USER", "LOGNAME"].into_iter().find_map(variable);
    let user = user.map_or_else(|| accounts::Caller::get().user, |user| user.to_string_lossy().into_owned());
    let machine = rustix::system::uname();
    let who: String =
        format!("{user}@{}", machine.nodename().to_string_lossy()).chars().filter(|c| !c.is_control()).collect();
    Ok(Caller { who, program })
}
