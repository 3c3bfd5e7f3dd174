//! A private copy of a configuration, made outside any repository before anything is changed. Symlinks are copied as
//! symlinks, and their targets are not read.

use std::path::{Path, PathBuf};

use crate::adapters::fs::files;
use crate::error::{Error, Result};

const FILES: usize = 5_000;
const LIMIT: u64 = 16 << 20;
/// The maximum depth of directories.
const DEPTH: usize = 32;

/// The sorted relative paths of a directory's files. Symlinks are listed but not followed; `.git` is left out.
pub fn listed(from: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut places = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = places.pop() {
        let place = from.join(&below);
        let failed = |error| Error::io(format!("cannot list {}", place.display()), error);
        for entry in std::fs::read_dir(&place).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = below.join(entry.file_name());
            let kind = entry.file_type().map_err(failed)?;
            if entry.file_name() == ".git" {
                continue;
            }
            if kind.is_dir() && depth < DEPTH {
                places.push((path, depth + 1));
            } else {
                found.push(path);
            }
            if found.len() + places.len() > FILES {
                return Err(Error::usage(format!("{} holds more than {FILES} files", from.display()))
                    .help("name the folder of a configuration, such as /etc/nixos"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies these files of a directory to a new directory. Returns an error line for each file that could not be read.
pub fn copy(from: &Path, paths: &[PathBuf], to: &Path) -> Result<Vec<String>> {
    if to.symlink_metadata().is_ok() {
        return Err(Error::failed(format!("{} is there already, and is not overwritten", to.display())));
    }
    files::make_private_directory(to)?;
    let mut left = Vec::new();
    for path in paths {
        let (source, target) = (from.join(path), to.join(path));
        if let Some(above) = target.parent() {
            files::make_private_directory(above)?;
        }
        let metadata = std::fs::symlink_metadata(&source);
        if metadata.is_ok_and(|there| there.is_symlink()) {
            let lead = std::fs::read_link(&source)
                .map_err(|error| Error::io(format!("cannot read {}", source.display()), error))?;
            rustix::fs::symlink(&lead, &target)
                .map_err(|error| Error::io(format!("cannot write {}", target.display()), error))?;
            continue;
        }
        match files::read(&source, LIMIT) {
            Ok(bytes) => files::create(&target, &bytes, 0o600)?,
            Err(error) => left.push(error.in_one_line()),
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_private_and_follows_no_link() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        std::fs::create_dir_all(from.join("sub/.git")).unwrap();
        files::create(&from.join("sub/a.nix"), b"a", 0o644).unwrap();
        files::create(&from.join("sub/.git/config"), b"no", 0o644).unwrap();
        files::create(&place.path().join("secret"), b"secret", 0o600).unwrap();
        symlink("../secret", from.join("link")).unwrap();
        symlink(".", from.join("loop")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, from.join("fifo"), rustix::fs::Mode::RWXU).unwrap();
        let paths = listed(&from).unwrap();
        assert_eq!(paths, ["fifo", "link", "loop", "sub/a.nix"].map(PathBuf::from));
        let left = copy(&from, &paths, &to).unwrap();
        assert!(left.len() == 1 && left[0].contains("fifo"), "{left:?}");
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("../secret"));
        assert_eq!(files::read(&to.join("sub/a.nix"), 9).unwrap(), b"a");
        assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(to.join("sub/a.nix")).unwrap().mode() & 0o777, 0o600);
        assert!(copy(&from, &paths, &to).is_err(), "never over another copy");
    }
}
