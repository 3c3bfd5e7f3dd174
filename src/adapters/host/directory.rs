//! A directory on the way to a link: who can change its entries, and how to create one where others can write.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Uid, fchmod, fchown, fgetxattr_query, fstat, fstatfs, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::adapters::fs::files::{DIRECTORY, TEMPORARY};
use crate::adapters::fs::owner::{Others, Owner, is_of, is_roots};

/// FUSE: served by a program that may be any user's, so its owners cannot be trusted.
const FUSE: u64 = 0x6573_5546;

pub struct Directory {
    stat: Stat,
    /// Why anyone but the owner and root's group can change its entries; `None` if nobody can.
    shared: Option<&'static str>,
    /// Whether it is on a FUSE file system, whose server may be any user's.
    served: bool,
}

impl Directory {
    pub fn of(fd: &OwnedFd) -> rustix::io::Result<Self> {
        let stat = fstat(fd)?;
        // With an ACL, the group bits are the mask: the most that anyone named in it may do.
        let listed = || fgetxattr_query(fd, "system.posix_acl_access").is_ok();
        let shared = if stat.st_mode & 0o002 != 0 {
            Some("can be written to by everybody")
        } else if stat.st_mode & 0o020 != 0 && (stat.st_gid != 0 || listed()) {
            Some("can be written to by a group, or by others that an access list names")
        } else {
            None
        };
        Ok(Self { stat, shared, served: u64::try_from(fstatfs(fd)?.f_type) == Ok(FUSE) })
    }

    /// Whether only root could have created its entries.
    pub fn is_roots(&self) -> bool {
        is_roots(&self.stat) && !self.served
    }

    /// Whether a secret's owner, other than root, controls its entries.
    pub fn is_ruled_by(&self, owner: u32) -> bool {
        owner != 0 && (self.served || (!is_roots(&self.stat) && self.stat.st_uid == owner))
    }

    /// Why someone other than root, us and the secret's owner could change its entries.
    pub fn fault(&self, owner: u32) -> Option<&'static str> {
        let theirs = !is_roots(&self.stat) && self.stat.st_uid != owner;
        if theirs { Some("belongs to another user") } else { self.shared }
    }

    /// The owner, group and mode for new entries in it.
    pub fn like(&self) -> (u32, u32, u32) {
        (self.stat.st_uid, self.stat.st_gid, self.stat.st_mode & 0o755)
    }
}

/// Creates a directory with the given owner, group and mode before it gets its name. In a directory where others can
/// write, they could swap it for something of root's that we would then give away; so it is created inside a private
/// directory and renamed.
pub fn make_folder(parent: &OwnedFd, name: &str, (user, group, mode): (u32, u32, u32)) -> rustix::io::Result<OwnedFd> {
    const INNER: &str = "d";
    let temporary = format!("{TEMPORARY}{name}");
    let open = |above: &OwnedFd, name: &str| openat(above, name, DIRECTORY, Mode::empty());
    let clear = || {
        // If it is not empty, it is not ours, and stays.
        let _inner = open(parent, &temporary).map(|fd| unlinkat(fd, INNER, AtFlags::REMOVEDIR));
        unlinkat(parent, &temporary, AtFlags::REMOVEDIR)
    };
    let _none = clear();
    let made = || {
        mkdirat(parent, &temporary, Mode::from_raw_mode(0o700))?;
        let ours = open(parent, &temporary)?;
        let stat = fstat(&ours)?;
        if !is_of(&stat, Owner::RootOrUs, Others::Readers) {
            return Err(Errno::AGAIN);
        }
        mkdirat(&ours, INNER, Mode::from_raw_mode(0o700))?;
        let fd = open(&ours, INNER)?;
        fchown(&fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        fchmod(&fd, Mode::from_raw_mode(mode))?;
        renameat(&ours, INNER, parent, name)?;
        Ok(fd)
    };
    let made = made();
    let _left = clear();
    made
}
