//! Whose a file or a directory is, and who else can do something with it: asked in this one way by all that trust what lies
//! somewhere.

use std::path::Path;

use rustix::fs::{FileType, Stat};

/// Who may own it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Us,
    /// Root does not need it to do anything.
    RootOrUs,
}

/// Who else may do something with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// That is not asked.
    Anybody,
    /// Root's group may write.
    RootsGroup,
    /// They read at most.
    Readers,
    Nobody,
}

/// Whether something is of this owner, and nobody else can do more with it than this.
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

/// Whether root owns something, or we do.
pub fn is_roots(stat: &Stat) -> bool {
    is_of(stat, Owner::RootOrUs, Others::Anybody)
}

/// Whether a directory is one, and ours. A link is not followed.
pub fn is_our_directory(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok_and(|stat| is_directory(&stat) && is_of(&stat, Owner::Us, Others::Anybody))
}

pub fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Who owns the first of these that this owner does not; what is not there is nobody's. No link is followed.
pub fn stranger<'a>(paths: impl IntoIterator<Item = &'a Path>, owner: Owner) -> Option<u32> {
    let stats = paths.into_iter().filter_map(|path| rustix::fs::lstat(path).ok());
    stats.into_iter().find(|stat| !is_of(stat, owner, Others::Anybody)).map(|stat| stat.st_uid)
}

/// Who we are, by number.
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
