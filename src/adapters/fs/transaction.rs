//! Atomic changes of several files: all or none, even if the program is killed or the power fails in between.
//!
//! Everything that will be written (ciphertext, recipients.toml, a file from which a value was taken; never a value
//! that is being sealed) first goes into one journal file under the git directory. Once that is on disk, the change is
//! decided: the files are renamed into place one by one and synced together, then the journal is removed. A later run
//! completes an unfinished change, and removes a journal that was never completely written.

use std::path::{Path, PathBuf};

use crate::adapters::fs::beneath::{self, Beside};
use crate::adapters::fs::changes::{Change, Changes, digest, encoded, parse};
use crate::adapters::fs::files::{self, Durable};
use crate::adapters::fs::lock::{self, Lock};
use crate::error::{Error, Kind, Result};

/// The maximum size of a journal, in bytes.
const LIMIT: u64 = 1 << 30;
/// How long a second process waits for the lock: not at all, since the first may be asking for a passphrase.
const PATIENCE: std::time::Duration = std::time::Duration::ZERO;
/// The exclusive right to change a fleet's files. One process holds it at a time; released on drop, and when the
/// process is killed.
pub struct Journal {
    root: PathBuf,
    file: PathBuf,
    _lock: Lock,
}

impl Journal {
    /// Takes the lock, completes an interrupted change and returns the paths of that. `directory` is sealift's
    /// directory under the git directory.
    pub fn open(root: &Path, directory: &Path) -> Result<(Self, Option<Vec<String>>)> {
        std::fs::create_dir_all(directory)
            .map_err(|error| Error::io(format!("cannot make {}", directory.display()), error))?;
        let lock = lock::take(
            files::directory(directory)?,
            &directory.join("lock").display().to_string(),
            "sealift",
            PATIENCE,
        )
        .map_err(|error| error.about("this fleet cannot be changed now"))?;
        let journal = Self { root: root.to_owned(), file: directory.join("journal"), _lock: lock };
        let finished = journal.recover()?;
        Ok((journal, finished))
    }

    /// Whether an interrupted change waits to be completed. Neither takes the lock nor changes anything.
    pub fn is_unfinished(directory: &Path) -> bool {
        directory.join("journal").exists()
    }

    /// Carries out all changes or none.
    ///
    /// Fails if a file was changed meanwhile (then nothing is written), or if writing fails.
    pub fn commit(&self, changes: &Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        for change in &changes.0 {
            // Do not start what cannot be completed.
            beneath::reachable(&self.root, &change.path)?;
            if self.digest_of(&change.path)? != change.before {
                return Err(Error::failed(format!("{} was changed by someone else meanwhile", change.path))
                    .help("nothing was written; run this again"));
            }
        }
        if let [change] = changes.0.as_slice() {
            return match &change.after {
                Some(bytes) => beneath::replace(&self.root, &change.path, bytes, change.mode, Durable::Now),
                None => beneath::remove(&self.root, &change.path),
            };
        }
        let bytes = encoded(&changes.0)?;
        files::replace(&self.file, &bytes, 0o600, Durable::Now)?;
        drop(bytes);
        match self.beside(&changes.0) {
            Ok(written) => self.finish(&changes.0, written),
            // No file was replaced yet, so the change can still be undone.
            Err(error) => {
                files::remove(&self.file)?;
                Err(error)
            }
        }
    }

    /// Writes every new file next to the one that it replaces, and syncs them all: a rename must never reach the disk
    /// before the content.
    fn beside<'a>(&'a self, changes: &'a [Change]) -> Result<Vec<Beside<'a>>> {
        let mut written = Vec::with_capacity(changes.len());
        let mut all = changes.iter().filter_map(|change| Some((change, change.after.as_ref()?)));
        let outcome = all
            .try_for_each(|(change, bytes)| {
                Beside::write(&self.root, &change.path, bytes, change.mode).map(|beside| written.push(beside))
            })
            .and_then(|()| files::sync(&self.root));
        match outcome {
            Ok(()) => Ok(written),
            Err(error) => {
                written.iter().for_each(Beside::discard);
                Err(error)
            }
        }
    }

    /// Renames every file into place, then removes the journal. If this fails, the next run completes it.
    fn finish(&self, changes: &[Change], written: Vec<Beside<'_>>) -> Result<()> {
        let renamed = written.into_iter().try_for_each(Beside::put);
        let gone = changes.iter().filter(|change| change.after.is_none()).map(|change| &change.path);
        renamed
            .and_then(|()| gone.clone().try_for_each(|path| beneath::remove(&self.root, path)))
            .and_then(|()| files::sync(&self.root))
            .and_then(|()| files::remove(&self.file))
            .map_err(|error| {
                error
                    .of_kind(Kind::Partial)
                    .help("the change is decided and will be completed by the next run of sealift")
            })
    }

    /// Completes an interrupted change and returns its paths. A damaged journal is an error.
    fn recover(&self) -> Result<Option<Vec<String>>> {
        self.sweep();
        if !self.file.exists() {
            return Ok(None);
        }
        let bytes = files::read(&self.file, LIMIT)?;
        let Some(changes) = parse(&bytes) else {
            // A journal is renamed into place only when complete, so this one is foreign or damaged.
            return Err(Error::failed(format!("{} is damaged", self.file.display()))
                .help("run `sealift check`, then delete that file"));
        };
        for change in &changes {
            beneath::sweep(&self.root, change.path.rsplit_once('/').map_or("", |(folder, _)| folder));
            let now = self.digest_of(&change.path)?;
            let after = change.after.as_deref().map(digest);
            if now != change.before && now != after {
                return Err(Error::failed(format!(
                    "an interrupted change cannot be completed: {} was changed since",
                    change.path
                ))
                .help(format!(
                    "keep the files as they are: delete {}, then run `sealift check`",
                    self.file.display()
                )));
            }
        }
        self.finish(&changes, self.beside(&changes)?)?;
        Ok(Some(changes.into_iter().map(|change| change.path).collect()))
    }

    /// Removes temporary files of killed runs: only names that sealift creates, where it creates them.
    fn sweep(&self) {
        let mut places = vec![self.root.clone()];
        places.extend(["secrets", "hosts", "home"].map(|folder| self.root.join(folder)));
        places.extend(self.file.parent().map(Path::to_owned));
        while let Some(place) = places.pop() {
            for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_dir && place != self.root && entry.path() != place {
                    places.push(entry.path());
                } else if entry.file_name().as_encoded_bytes().starts_with(files::TEMPORARY.as_bytes()) {
                    // Failing here is harmless: such a file holds only ciphertext.
                    let _left = files::remove(&entry.path());
                }
            }
        }
    }

    fn digest_of(&self, path: &str) -> Result<Option<[u8; 32]>> {
        let path = self.root.join(path);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("cannot look at {}", path.display()), error)),
            Ok(_) => files::read(&path, LIMIT).map(|bytes| Some(digest(&bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("secrets")).unwrap();
        let directory = place.path().join(".git/sealift");
        (place, directory)
    }

    fn two(before: Option<&[u8]>) -> Changes {
        let mut changes = Changes::default();
        changes.write("secrets/a.age", before, b"new a".to_vec());
        changes.write("recipients.toml", None, b"new policy".to_vec());
        changes
    }

    #[test]
    fn all_files_change_and_the_journal_is_gone() {
        let (place, directory) = fleet();
        std::fs::write(place.path().join("secrets/a.age"), "old a").unwrap();
        let (journal, finished) = Journal::open(place.path(), &directory).unwrap();
        assert!(finished.is_none());
        journal.commit(&two(Some(b"old a"))).unwrap();
        assert_eq!(std::fs::read(place.path().join("secrets/a.age")).unwrap(), b"new a");
        assert!(!directory.join("journal").exists());
    }

    #[test]
    fn a_file_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let (place, directory) = fleet();
        let path = place.path().join("private.nix");
        std::fs::write(&path, "old").unwrap();
        let mut changes = two(None);
        changes.write_keeping("private.nix", b"old", b"new".to_vec(), 0o600);
        // The journal keeps them for a later run too.
        let modes: Vec<u32> = parse(&encoded(&changes.0).unwrap()).unwrap().iter().map(|change| change.mode).collect();
        assert_eq!(modes, [0o644, 0o644, 0o600]);
        Journal::open(place.path(), &directory).unwrap().0.commit(&changes).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_changed_meanwhile_stops_all_of_it() {
        let (place, directory) = fleet();
        std::fs::write(place.path().join("secrets/a.age"), "someone's").unwrap();
        let (journal, _) = Journal::open(place.path(), &directory).unwrap();
        assert!(journal.commit(&two(Some(b"old a"))).is_err());
        assert!(!place.path().join("recipients.toml").exists());
    }

    #[test]
    fn an_interrupted_change_is_finished_by_the_next_run() {
        let (place, directory) = fleet();
        // The first file is in place, the second one is not yet.
        std::fs::write(place.path().join("secrets/a.age"), "new a").unwrap();
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("journal"), encoded(&two(Some(b"old a")).0).unwrap()).unwrap();
        let (_journal, finished) = Journal::open(place.path(), &directory).unwrap();
        assert_eq!(finished.unwrap(), ["secrets/a.age", "recipients.toml"]);
        assert_eq!(std::fs::read(place.path().join("secrets/a.age")).unwrap(), b"new a");
        assert_eq!(std::fs::read(place.path().join("recipients.toml")).unwrap(), b"new policy");
        assert!(!directory.join("journal").exists());
    }

    #[test]
    fn only_one_at_a_time() {
        let (place, directory) = fleet();
        let _held = Journal::open(place.path(), &directory).unwrap();
        assert!(
            Journal::open(place.path(), &directory).is_err_and(|error| error.message().contains("another sealift"))
        );
    }
}
