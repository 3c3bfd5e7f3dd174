//! A directory on the way to a link: who could change what lies in it, and how one is made where others can.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Uid, fchmod, fchown, fgetxattr_query, fstat, fstatfs, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::adapters::fs::files::{DIRECTORY, TEMPORARY};
use crate::adapters::fs::owner::{Others, Owner, is_of, is_roots};

/// File systems whose server is a program, and may be any user's: what they say of owners is only said.
const FUSE: u64 = 0x6573_5546;

/// A directory on the way.
pub struct Directory {
    stat: Stat,
    /// Whether anybody but its owner and root's group can change what lies in it, and who.
    shared: Option<&'static str>,
    /// Whether a program serves it, which may be any user's.
    served: bool,
}

impl Directory {
    pub fn of(fd: &OwnedFd) -> rustix::io::Result<Self> {
        let stat = fstat(fd)?;
        // With a list of its own, the bits of the group are what anybody named there may do at most.
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

    /// Whether nobody but root could have put there what is there.
    pub fn is_roots(&self) -> bool {
        is_roots(&self.stat) && !self.served
    }

    /// Whether a secret's owner, who is not root, decides what is there.
    pub fn is_ruled_by(&self, owner: u32) -> bool {
        owner != 0 && (self.served || (!is_roots(&self.stat) && self.stat.st_uid == owner))
    }

    /// Why others than root, we and the secret's owner could change what lies in it.
    pub fn fault(&self, owner: u32) -> Option<&'static str> {
        let theirs = !is_roots(&self.stat) && self.stat.st_uid != owner;
        if theirs { Some("belongs to another user") } else { self.shared }
    }

    /// Owner, group and permissions of what is made in it.
    pub fn like(&self) -> (u32, u32, u32) {
        (self.stat.st_uid, self.stat.st_gid, self.stat.st_mode & 0o755)
    }
}

/// Makes a directory whose owner, group and permissions are its own before it has its name. Where it goes others may exchange
/// what we make for something of root's that we must not give away: it is made in a directory that is ours alone.
pub fn make_folder(parent: &OwnedFd, name: &str, (user, group, mode): (u32, u32, u32)) -> rustix::io::Result<OwnedFd> {
    const INNER: &str = "d";
    let temporary = format!("{TEMPORARY}{name}");
    let open = |above: &OwnedFd, name: &str| openat(above, name, DIRECTORY, Mode::empty());
    let clear = || {
        // What is not empty is not what we made, and is left.
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
