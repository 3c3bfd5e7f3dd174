//! What is read from outside the command line: the environment, the working directory, the clock. Every variable that
//! sealift reads is listed here.

use std::path::PathBuf;

use clap::Args;

/// Names the fleet's directory.
pub const FLEET: &str = "SEALIFT_FLEET";
/// Names an identity file (a path, never a key).
pub const IDENTITY: &str = "SEALIFT_IDENTITY";

/// Options that every verb takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The fleet's directory [default: the one that the working directory lies in; env: SEALIFT_FLEET]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub fleet: Option<PathBuf>,
    /// Use only this identity file (may be given again) [env: SEALIFT_IDENTITY]
    #[arg(long, short, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub identity: Vec<PathBuf>,
    /// Say nothing but errors
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
}

/// A variable, if it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Where the program was started.
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
}

/// Who calls, for locks and records, and this program's own file.
///
/// # Errors
/// When the kernel does not tell which file this is.
pub fn caller() -> crate::error::Result<crate::commands::deploy::handover::Caller> {
    let program = std::env::current_exe().map_err(|error| crate::error::Error::io("cannot tell which program this is", error))?;
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(variable);
    let user = user.map_or_else(|| format!("user {}", rustix::process::getuid().as_raw()), |user| user.to_string_lossy().into_owned());
    let machine = rustix::system::uname();
    let who: String = format!("{user}@{}", machine.nodename().to_string_lossy()).chars().filter(|c| !c.is_control()).collect();
    Ok(crate::commands::deploy::handover::Caller { who, program })
}
