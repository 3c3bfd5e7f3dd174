//! The program of ours on another machine: that of the running system, or, before the first deploy, the `sealift-host` that lies
//! beside this program, brought into the store there.

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

/// The program of the running system: the one that a line in sudoers can name.
pub const RUNNING: &str = "/run/current-system/etc/sealift/host";
/// The program in a store path that was brought.
pub const STORED: &str = "bin/sealift-host";
/// What to do where this program does not run.
pub const HELP: &str = "give a static sealift-host for that machine with `--host-program FILE`";

/// A program that may be brought, put into the store at the first need.
pub struct Brought {
    /// Its file, where one was named.
    named: Option<PathBuf>,
    folder: PathBuf,
    /// By their files: machines may be of several kinds.
    stored: Mutex<BTreeMap<PathBuf, String>>,
}

impl Brought {
    /// Nothing is in the store yet. What is made on the way, and the link that keeps it, go into a folder of the run.
    pub fn new(named: Option<PathBuf>, folder: PathBuf) -> Self {
        Self { named, folder, stored: Mutex::default() }
    }

    /// The file for a machine, by what `uname` says there: the one that was named; what lies beside this program for such
    /// machines; for one like this, this program, which can do the same. None where there is none.
    fn file(&self, is: &str, caller: &Caller) -> Option<PathBuf> {
        if self.named.is_some() {
            return self.named.clone();
        }
        // What a machine says of itself becomes a part of a name, and no path.
        let word = |kind: &&str| kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let kind = is.strip_prefix("Linux ").filter(word)?;
        let program = std::fs::canonicalize(&caller.program).unwrap_or_else(|_| caller.program.clone());
        // In the store it is a link.
        let beside =
            |name: &str| std::fs::canonicalize(program.with_file_name(name)).ok().filter(|file| file.is_file());
        let ours = is == ours();
        beside(&format!("sealift-host-{kind}-linux"))
            .or_else(|| beside("sealift-host").filter(|_| ours))
            .or_else(|| ours.then(|| program.clone()))
    }

    /// The store path of a file that is brought.
    fn store(&self, file: &Path) -> Result<String> {
        // Several hosts may come to this at once; the first one does it.
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

/// What `uname` says where this program runs.
fn ours() -> String {
    let system = if cfg!(target_os = "linux") { "Linux" } else { "Darwin" };
    format!("{system} {}", std::env::consts::ARCH)
}

/// The failure of a machine whose nix daemon does not let us in, if that is so: what nix says of it is only that somebody
/// hung up.
fn barred(host: &HostName, connection: &Connection) -> Option<Error> {
    let printed =
        |words: &[&str]| Some(connection.call(words).run().ok().filter(|output| output.ended.success())?.stdout);
    let text = |words: &[&str]| Some(String::from_utf8_lossy(&printed(words)?).trim().to_owned());
    let groups = text(&["id", "-Gn"])?.split(' ').map(str::to_owned).collect();
    let user = accounts::LocalUser { user: text(&["id", "-un"])?, groups };
    trust::trust_of(&printed(&trust::ASKS)?, &user).barred.then(|| trust::barred(host.as_str(), &user.user))
}

/// Brings it to a machine; where it is there.
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
    // Made from its content, so that nobody has to be trusted for it.
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
