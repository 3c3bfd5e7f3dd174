//! The environment and the properties of this process. All variables are read here.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::adapters::host::accounts;
use crate::adapters::system;
use crate::commands::agent::caller::Caller;
use crate::error::{Error, Result};

/// The variable with the fleet's directory.
pub const FLEET: &str = "SEALIFT_FLEET";
/// The variable with the path of an identity file, never a key.
pub const IDENTITY: &str = "SEALIFT_IDENTITY";

/// Where NixOS has the programs of the running system. The PATH of a service has few of them.
const SYSTEM: &str = "/run/current-system/sw/bin";

/// Returns the search path for programs: the absolute entries of PATH, then the running system. Empty and relative
/// entries refer to the working directory, which may be a repository with its own `git`.
pub fn path() -> OsString {
    let entries = variable("PATH").unwrap_or_default();
    let mut absolute: Vec<PathBuf> = std::env::split_paths(&entries).filter(|entry| entry.is_absolute()).collect();
    // An empty PATH would mean the working directory too, so the system default is used instead.
    if absolute.is_empty() {
        absolute.extend(["/usr/bin", "/bin"].map(PathBuf::from));
    }
    absolute.push(PathBuf::from(SYSTEM));
    std::env::join_paths(absolute).unwrap_or_else(|_| "/usr/bin:/bin".into())
}

/// Returns a variable if it is set and not empty.
pub fn variable(name: &str) -> Option<OsString> {
    as_set(name).filter(|value| !value.is_empty())
}

/// Returns a variable if it is set, even to an empty value.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn as_set(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Returns the columns and lines of a terminal, or none if it is no terminal or has no known size.
pub fn size(of: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Returns the working directory.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn working_directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

/// Disables core files, and reading our memory by other processes of the same user.
pub fn keep_to_ourselves() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // These fail only if the kernel does not support them; then nothing can be done.
    let _unsupported = system::close_memory();
    let _unsupported = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // A umask that removes the owner's rights would create folders that even the owner cannot enter.
    let umask = rustix::process::umask(rustix::fs::Mode::RWXU);
    rustix::process::umask(umask - rustix::fs::Mode::RWXU);
}

/// Returns the id of the user who became root with sudo or doas, or of the calling user.
pub fn user_behind_root() -> u32 {
    let me = rustix::process::geteuid();
    // The variables count only for root: sudo and doas set them, but anybody could.
    let by_sudo = || variable("SUDO_UID")?.to_str()?.parse().ok();
    let by_doas = || accounts::number_of(variable("DOAS_USER")?.to_str()?);
    me.is_root().then(|| by_sudo().or_else(by_doas)).flatten().unwrap_or(me.as_raw())
}

/// Returns the calling user, for locks and records, and the path of this program.
pub fn caller() -> Result<Caller> {
    let program = std::env::current_exe().map_err(|error| Error::io("cannot find the path of this program", error))?;
    let user = ["SUDO_USER", "DOAS_USER", "USER", "LOGNAME"].into_iter().find_map(variable);
    let user = user.map_or_else(|| accounts::LocalUser::get().user, |user| user.to_string_lossy().into_owned());
    let machine = rustix::system::uname();
    let who: String =
        format!("{user}@{}", machine.nodename().to_string_lossy()).chars().filter(|c| !c.is_control()).collect();
    Ok(Caller { who, program })
}
