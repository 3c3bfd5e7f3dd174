//! Provides sealift's program on another machine: that of the running system or, before the first deploy, the
//! `sealift-host` beside this program, copied into the remote store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::host::accounts;
use crate::adapters::nix::{store, trust};
use crate::adapters::ssh::Connection;
use crate::commands::agent::caller::Caller;
use crate::domain::foreign::cut;
use crate::domain::name::HostName;
use crate::error::{Error, Result};

/// The program of the running system, whose fixed path can be named in sudoers.
pub const RUNNING: &str = "/run/current-system/etc/sealift/host";
/// The path of the program inside a store path that was copied.
pub const STORED: &str = "bin/sealift-host";
/// Help for a machine on which this program does not run.
pub const HELP: &str = "give a static sealift-host for that machine with `--host-program FILE`";

/// A program to copy to other machines, added to the store when first needed.
pub struct Brought {
    /// The file, if one was named.
    named: Option<PathBuf>,
    folder: PathBuf,
    /// Store paths by file: machines may have different platforms.
    stored: Mutex<BTreeMap<PathBuf, String>>,
}

impl Brought {
    /// Creates it without store paths. Intermediate files and GC roots go into the run's folder.
    pub fn new(named: Option<PathBuf>, folder: PathBuf) -> Self {
        Self { named, folder, stored: Mutex::default() }
    }

    /// Returns the file for a machine by its `uname` output: the named file, a `sealift-host` beside this program for
    /// that platform or, for this platform, this program, which can do the same.
    fn file(&self, is: &str, caller: &Caller) -> Option<PathBuf> {
        if self.named.is_some() {
            return self.named.clone();
        }
        // The output of a remote machine becomes part of a file name, so it must not be a path.
        let word = |kind: &&str| kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let kind = is.strip_prefix("Linux ").filter(word)?;
        let program = std::fs::canonicalize(&caller.program).unwrap_or_else(|_| caller.program.clone());
        // In the store this is a symlink.
        let beside =
            |name: &str| std::fs::canonicalize(program.with_file_name(name)).ok().filter(|file| file.is_file());
        let ours = is == ours();
        beside(&format!("sealift-host-{kind}-linux"))
            .or_else(|| beside("sealift-host").filter(|_| ours))
            .or_else(|| ours.then(|| program.clone()))
    }

    /// Returns the store path of a file, adding it first if necessary.
    fn store(&self, file: &Path) -> Result<String> {
        // Several hosts may need it at the same time; the first adds it.
        let mut done = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stored) = done.get(file) {
            return Ok(stored.clone());
        }
        let folder = self.folder.join(format!("program-{}", done.len()));
        let bytes = files::read(file, 256 << 20)?;
        files::replace(&folder.join(STORED), &bytes, 0o555, Durable::Later)?;
        let stored = store::add("sealift-host", &folder)?;
        done.insert(file.to_owned(), stored.clone());
        Ok(stored)
    }
}

/// Returns the `uname` output of machines on which this program runs.
fn ours() -> String {
    let system = if cfg!(target_os = "linux") { "Linux" } else { "Darwin" };
    format!("{system} {}", std::env::consts::ARCH)
}

/// Returns the error for a machine whose nix daemon does not accept the user, if that is the cause: nix itself only
/// reports a closed connection.
fn barred(host: &HostName, connection: &Connection) -> Option<Error> {
    let printed =
        |words: &[&str]| Some(connection.call(words).run().ok().filter(|output| output.ended.success())?.stdout);
    let text = |words: &[&str]| Some(String::from_utf8_lossy(&printed(words)?).trim().to_owned());
    let groups = text(&["id", "-Gn"])?.split(' ').map(str::to_owned).collect();
    let user = accounts::LocalUser { user: text(&["id", "-un"])?, groups };
    trust::trust_of(&printed(&trust::ASKS)?, &user).barred.then(|| trust::barred(host.as_str(), &user.user))
}

/// Copies the program to a machine, and returns its path there.
pub fn bring(brought: &Brought, host: &HostName, connection: &Connection, caller: &Caller) -> Result<String> {
    connection.takes_copies()?;
    let printed = connection.call(&["uname", "-sm"]).run()?;
    if connection.lost(printed.ended) {
        return Err(connection.failure(&printed));
    }
    let is = cut(String::from_utf8_lossy(&printed.stdout).trim(), 100);
    let Some(file) = brought.file(&is, caller) else {
        return Err(Error::failed(format!(
            "nothing of sealift is there yet, and this program does not run there: it is for `{}`, the machine is `{is}`",
            ours()
        ))
        .help(HELP));
    };
    // A content-addressed path needs no trusted signature.
    let stored = brought.store(&file)?;
    store::copy_to(&connection.store(), &[&stored], |_| ())
        .map_err(|error| barred(host, connection).unwrap_or(error))?;
    let program = Path::new(&stored).join(STORED);
    program.to_str().map(str::to_owned).ok_or_else(|| Error::failed("the store path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_brought_is_of_the_target() {
        let place = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(place.path()).unwrap();
        let caller = Caller { who: String::new(), program: top.join("sealift") };
        let brought = Brought::new(None, top.clone());
        let ours = format!("Linux {}", std::env::consts::ARCH);
        let found = |is: &str| brought.file(is, &caller);
        std::fs::write(&caller.program, "").unwrap();
        assert_eq!(found(&ours), Some(caller.program.clone()), "alone it goes itself");
        std::fs::write(top.join("sealift-host"), "").unwrap();
        std::fs::write(top.join("sealift-host-riscv64-linux"), "").unwrap();
        assert_eq!(found(&ours), Some(top.join("sealift-host")));
        assert_eq!(found("Linux riscv64"), Some(top.join("sealift-host-riscv64-linux")));
        for none in ["Linux armv7l", "Darwin arm64", "Linux ../../x", "Linux ", ""] {
            assert_eq!(found(none), None, "{none}");
        }
        let named = Brought::new(Some(top.join("other")), top.clone());
        assert_eq!(named.file("Linux armv7l", &caller), Some(top.join("other")));
    }
}
