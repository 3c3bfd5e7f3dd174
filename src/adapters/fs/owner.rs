//! Who owns a file or directory and what others may do with it. Every check of whether a path can be trusted uses this.

use std::path::Path;

use rustix::fs::{FileType, Stat};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Us,
    /// Root is trusted, because it can do anything anyway.
    RootOrUs,
}

/// What everyone but the owner may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Not checked.
    Anybody,
    /// The group may write, if it is root's.
    RootsGroup,
    /// Others can read at most.
    Readers,
    Nobody,
}

/// Whether the owner is as required, and nobody else has more access than allowed.
pub fn is_of(stat: &Stat, owner: Owner, others: Others) -> bool {
    let owned = stat.st_uid == us() || owner == Owner::RootOrUs && stat.st_uid == 0;
    let closed = match others {
        Others::Anybody => 0,
        Others::RootsGroup if stat.st_gid == 0 => 0o002,
        Others::RootsGroup | Others::Readers => 0o022,
        Others::Nobody => 0o077,
    };
    owned && stat.st_mode & closed == 0
}

/// Whether root or the current user owns it.
pub fn is_roots(stat: &Stat) -> bool {
    is_of(stat, Owner::RootOrUs, Others::Anybody)
}

/// Whether the path is a directory that the current user owns. A symlink is not followed.
pub fn is_our_directory(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok_and(|stat| is_directory(&stat) && is_of(&stat, Owner::Us, Others::Anybody))
}

pub fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// The owner of the first existing path that `owner` does not own. Symlinks are not followed.
pub fn stranger<'a>(paths: impl IntoIterator<Item = &'a Path>, owner: Owner) -> Option<u32> {
    let stats = paths.into_iter().filter_map(|path| rustix::fs::lstat(path).ok());
    stats.into_iter().find(|stat| !is_of(stat, owner, Others::Anybody)).map(|stat| stat.st_uid)
}

/// Our effective uid.
pub fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_it_is_and_what_others_may_is_asked_together() {
        let place = tempfile::tempdir().unwrap();
        let stat = |user: u32, group: u32, mode: u32| {
            let mut stat = rustix::fs::stat(place.path()).unwrap();
            (stat.st_uid, stat.st_gid, stat.st_mode) = (user, group, mode);
            stat
        };
        let fits = |mode, group, others| is_of(&stat(us(), group, mode), Owner::Us, others);
        assert!(fits(0o777, 7, Others::Anybody) && fits(0o755, 7, Others::Readers) && fits(0o700, 7, Others::Nobody));
        assert!(
            !fits(0o775, 7, Others::Readers) && !fits(0o757, 7, Others::Readers) && !fits(0o710, 7, Others::Nobody)
        );
        assert!(fits(0o775, 0, Others::RootsGroup) && !fits(0o775, 7, Others::RootsGroup));
        assert!(!fits(0o777, 0, Others::RootsGroup) && !fits(0o775, 0, Others::Readers));
        let of = |user: u32, owner| is_of(&stat(user, 0, 0o700), owner, Others::Nobody);
        assert!(of(us(), Owner::Us) && of(us(), Owner::RootOrUs) && of(0, Owner::RootOrUs));
        assert!(!of(us() + 1, Owner::Us) && !of(us() + 1, Owner::RootOrUs));
        assert_eq!(stranger([place.path(), Path::new("/no/such")], Owner::Us), None);
        let link = place.path().join("link");
        std::os::unix::fs::symlink(place.path(), &link).unwrap();
        assert!(is_our_directory(place.path()) && !is_our_directory(&link));
    }
}
