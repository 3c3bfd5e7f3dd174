//! The environment, and what this process is in it. Every variable is read here.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::adapters::host::accounts;
use crate::adapters::system;
use crate::commands::agent::caller::Caller;
use crate::error::{Error, Result};

/// Names the fleet's directory.
pub const FLEET: &str = "SEALIFT_FLEET";
/// Names an identity file (a path, never a key).
pub const IDENTITY: &str = "SEALIFT_IDENTITY";

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

/// A variable, if it is set and not empty.
pub fn variable(name: &str) -> Option<OsString> {
    as_set(name).filter(|value| !value.is_empty())
}

/// A variable, if it is set, and be it to nothing.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn as_set(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// How many columns and lines a terminal has; none where it is no terminal, or does not say.
pub fn size(of: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Where the program was started.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn working_directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

/// No core files, no reading of our memory by other processes of the same user.
pub fn keep_to_ourselves() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Both can only fail where the kernel knows neither; there is nothing to do about it then.
    let _unsupported = system::close_memory();
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
pub fn caller() -> Result<Caller> {
    let program = std::env::current_exe().map_err(|error| Error::io("cannot find the path of this program", error))?;
    let user = ["SUDO_USER", "DOAS_USER", "USER", "LOGNAME"].into_iter().find_map(variable);
    let user = user.map_or_else(|| accounts::LocalUser::get().user, |user| user.to_string_lossy().into_owned());
    let machine = rustix::system::uname();
    let who: String =
        format!("{user}@{}", machine.nodename().to_string_lossy()).chars().filter(|c| !c.is_control()).collect();
    Ok(Caller { who, program })
}
