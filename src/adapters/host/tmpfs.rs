//! Memory that never reaches a disk: a tmpfs with `noswap`, or a ramfs if the kernel does not support that. It is
//! mounted below `/run`; an existing mount is checked before plaintext goes into it. A user cannot mount and uses a
//! directory in memory; there the machine's swap is checked instead.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fchmod, fstat, fstatfs, mkdirat, openat, readlinkat, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, move_mount,
};

use crate::adapters::fs::files::{self, DIRECTORY};
use crate::adapters::fs::owner::{Others, Owner, is_of};
use crate::domain::manifest::install_status::Tree;
use crate::error::{Error, Result};

const RAMFS: u64 = 0x8584_58f6;
const TMPFS: u64 = 0x0102_1994;
const MOUNTS: &str = "/proc/self/mountinfo";
const SWAPS: &str = "/proc/swaps";
const MOUNTS_LIMIT: u64 = 16 << 20;

/// The directory that holds a tree's generations.
pub struct Generations {
    pub(super) fd: OwnedFd,
    pub(super) shown: PathBuf,
    pub(super) tree: Tree,
}

/// The `/run` of the system below a root, or a user's runtime directory.
pub struct Run {
    pub fd: OwnedFd,
    pub shown: PathBuf,
    of_user: bool,
}

impl Run {
    /// Opens `run` below the root; `None` if it does not exist.
    pub fn open(root: &Path) -> Result<Option<Self>> {
        let shown = root.join("run");
        let Some(fd) = own_directory(&files::directory(root)?, "run", &shown)? else { return Ok(None) };
        Ok(Some(Self { fd, shown, of_user: false }))
    }

    /// The current user's runtime directory in memory, such as `$XDG_RUNTIME_DIR`.
    pub fn of_user(directory: &Path) -> Result<Self> {
        let fd = files::directory(directory)?;
        let shown = directory.to_owned();
        let stat = fstat(&fd).map_err(|error| Error::io(format!("cannot look at {}", shown.display()), error))?;
        if !is_of(&stat, Owner::Us, Others::Nobody) {
            return Err(Error::failed(format!("{} is not a directory of one user alone", shown.display()))
                .help("give the user's own runtime directory: $XDG_RUNTIME_DIR, %t in a unit"));
        }
        Ok(Self { fd, shown, of_user: true })
    }

    /// Like `open`, but creates the directory if it is missing.
    pub fn make(root: &Path) -> Result<Self> {
        if let Some(run) = Self::open(root)? {
            return Ok(run);
        }
        let shown = root.join("run");
        match make_directory(&files::directory(root)?, "run", 0o755, &shown) {
            Ok(fd) => Ok(Self { fd, shown, of_user: false }),
            // The lock is not held yet, so another install may have just created it.
            Err(error) => Self::open(root)?.ok_or(error),
        }
    }

    /// The live generation that the tree's symlink names; `None` if there is no symlink.
    pub fn live(&self, tree: Tree) -> Result<Option<u64>> {
        let shown = self.shown.join(tree.link());
        let foreign = |what: &str| {
            Error::failed(format!("{} is {what}, and sealift keeps its own link there", shown.display()))
                .help(format!("find out what created it, and move it away: mv {0} {0}.old", shown.display()))
        };
        match readlinkat(&self.fd, tree.link(), Vec::new()) {
            Ok(target) => match tree.generation(&target.to_string_lossy()) {
                Some(number) => Ok(Some(number)),
                None => Err(foreign("a link of another program")),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::INVAL) => Err(foreign("no link")),
            Err(error) => Err(Error::io(format!("cannot read the link {}", shown.display()), error)),
        }
    }

    /// The generations of a tree, if memory is mounted there.
    pub fn generations(&self, tree: Tree) -> Result<Option<Generations>> {
        let shown = self.shown.join(tree.place());
        match own_directory(&self.fd, tree.place(), &shown)? {
            Some(fd) if self.of_user || is_mounted(&self.fd, &fd, &shown)? => {
                self.check(&fd, &shown)?;
                Ok(Some(Generations { fd, shown, tree }))
            }
            _ => Ok(None),
        }
    }

    /// The generations of a tree; mounts memory for them if needed.
    pub fn make_generations(&self, tree: Tree) -> Result<Generations> {
        if let Some(generations) = self.generations(tree)? {
            let mode = Mode::from_raw_mode(self.directory_mode(tree));
            fchmod(&generations.fd, mode)
                .map_err(|error| Error::io(format!("cannot change {}", generations.shown.display()), error))?;
            return Ok(generations);
        }
        let shown = self.shown.join(tree.place());
        if self.of_user {
            let fd = make_directory(&self.fd, tree.place(), self.directory_mode(tree), &shown)?;
            self.check(&fd, &shown)?;
            return Ok(Generations { fd, shown, tree });
        }
        let under = match own_directory(&self.fd, tree.place(), &shown)? {
            Some(fd) => fd,
            None => make_directory(&self.fd, tree.place(), 0o700, &shown)?,
        };
        let fd = mount(tree.directory_mode()).and_then(|memory| {
            let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&memory, "", &under, "", onto)?;
            // The fd of the mount is only a path; reopen its root for reading.
            openat(&memory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        });
        let fd = fd.map_err(|error| {
            let failed = Error::io(format!("cannot mount memory at {}", shown.display()), error);
            if error == Errno::PERM { failed.help("only root may mount: run this as root") } else { failed }
        })?;
        self.check(&fd, &shown)?;
        Ok(Generations { fd, shown, tree })
    }

    /// A user's directory is closed to all others.
    fn directory_mode(&self, tree: Tree) -> u32 {
        if self.of_user { 0o700 } else { tree.directory_mode() }
    }

    /// Fails for anything but memory that cannot reach a disk.
    fn check(&self, fd: &OwnedFd, shown: &Path) -> Result<()> {
        let failed = |error: Errno| Error::io(format!("cannot look at {}", shown.display()), error);
        let refused =
            |what: &str| Error::failed(format!("{} is {what}: plaintext could reach a disk", shown.display()));
        let remount = format!("unmount it (umount {}), and sealift mounts memory there", shown.display());
        match u64::try_from(fstatfs(fd).map_err(failed)?.f_type) {
            Ok(RAMFS) => Ok(()),
            Ok(TMPFS) if never_swaps(&table(MOUNTS, shown)?, mount_id(fd).map_err(failed)?) => Ok(()),
            Ok(TMPFS) if !self.of_user => Err(refused("a tmpfs that may swap").help(remount)),
            Ok(TMPFS) => match swaps_openly(&table(SWAPS, shown)?, is_encrypted) {
                None => Ok(()),
                Some(device) => Err(refused(&format!("a tmpfs, and this machine swaps to {device}"))
                    .help("encrypt the swap, or keep it in memory (zram)")),
            },
            _ if self.of_user => Err(refused("on a disk").help("give the user's own runtime directory")),
            _ => Err(refused("on a disk").help(remount)),
        }
    }
}

fn table(path: &str, shown: &Path) -> Result<String> {
    let bytes = files::read(Path::new(path), MOUNTS_LIMIT).map_err(|error| {
        Error::failed(format!("cannot find out whether {} may be swapped", shown.display())).because(error)
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first swap area that is neither in memory nor encrypted.
fn swaps_openly(table: &str, is_encrypted: impl Fn(&str) -> bool) -> Option<String> {
    let devices = table.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let open = |device: &&str| !device.starts_with("/dev/zram") && !is_encrypted(device);
    devices.into_iter().find(open).map(str::to_owned)
}

/// Whether dm-crypt encrypts a device.
fn is_encrypted(device: &str) -> bool {
    let Some(name) = device.strip_prefix("/dev/").filter(|name| name.starts_with("dm-") && !name.contains('/')) else {
        return false;
    };
    let uuid = files::read(&Path::new("/sys/block").join(name).join("dm/uuid"), 4096);
    uuid.is_ok_and(|uuid| uuid.starts_with(b"CRYPT-"))
}

/// Creates a mount that is not attached yet, with its mode set from the start. If anything fails before it is attached,
/// nothing is left behind.
fn mount(mode: u32) -> rustix::io::Result<OwnedFd> {
    let mode = format!("{mode:04o}");
    let tmpfs = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_flag(&context, "noswap")?;
        fsconfig_set_string(&context, "source", "sealift")?;
        fsconfig_set_string(&context, "mode", &mode)?;
        fsconfig_create(&context)?;
        Ok(context)
    };
    let ramfs = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen("ramfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", "sealift")?;
        fsconfig_set_string(&context, "mode", &mode)?;
        fsconfig_create(&context)?;
        Ok(context)
    };
    // Kernels before 6.4 do not support `noswap`, and user namespaces may not set it.
    let context = tmpfs().or_else(|_| ramfs())?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Whether the mount with this id has the option `noswap`.
fn never_swaps(table: &str, id: u64) -> bool {
    let line = table.lines().find(|line| line.split(' ').next().and_then(|word| word.parse().ok()) == Some(id));
    // … - type source options
    let options = line.and_then(|line| line.split_once(" - ")).and_then(|(_, after)| after.split(' ').nth(2));
    options.is_some_and(|options| options.split(',').any(|option| option == "noswap"))
}

fn is_mounted(above: &OwnedFd, here: &OwnedFd, shown: &Path) -> Result<bool> {
    let failed = |error: Errno| Error::io(format!("cannot look at {}", shown.display()), error);
    Ok(mount_id(above).map_err(failed)? != mount_id(here).map_err(failed)?)
}

fn mount_id(fd: &OwnedFd) -> rustix::io::Result<u64> {
    statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
}

/// Opens a directory that only root and we can change; `None` if it does not exist.
fn own_directory(parent: &OwnedFd, name: &str, shown: &Path) -> Result<Option<OwnedFd>> {
    let fd = match openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(Error::failed(format!("{} is not a directory of its own", shown.display())));
        }
        Err(error) => return Err(Error::io(format!("cannot open {}", shown.display()), error)),
    };
    let stat = fstat(&fd).map_err(|error| Error::io(format!("cannot look at {}", shown.display()), error))?;
    if is_of(&stat, Owner::RootOrUs, Others::RootsGroup) {
        return Ok(Some(fd));
    }
    Err(Error::failed(format!("others can change what lies in {}", shown.display()))
        .help(format!("chown root:root {0} && chmod go-w {0}", shown.display())))
}

/// Creates a directory with exactly this mode, whatever the umask.
pub fn make_directory(parent: &OwnedFd, name: &str, mode: u32, shown: &Path) -> Result<OwnedFd> {
    let made = mkdirat(parent, name, Mode::from_raw_mode(0o700))
        .and_then(|()| openat(parent, name, DIRECTORY, Mode::empty()))
        .and_then(|fd| fchmod(&fd, Mode::from_raw_mode(mode)).map(|()| fd));
    made.map_err(|error| Error::io(format!("cannot make {}", shown.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_told_from_the_mount_table() {
        let table = "22 1 0:21 / /run rw,nosuid - tmpfs tmpfs rw,size=1k,noswap\n\
                     23 22 0:22 / /run/sealift.d rw,nosuid shared:7 - tmpfs sealift rw,mode=751,noswap\n\
                     24 22 0:23 / /run/noswap rw,noswap - tmpfs noswap rw,mode=751\n";
        assert!(never_swaps(table, 22) && never_swaps(table, 23));
        let swaps = |lines: &str| {
            let table = format!("Filename\tType\tSize\tUsed\tPriority\n{lines}");
            swaps_openly(&table, |device| device == "/dev/dm-1")
        };
        assert_eq!(swaps(""), None);
        assert_eq!(swaps("/dev/zram0 partition 8 0 100\n/dev/dm-1 partition 8 0 -2\n"), None);
        assert_eq!(swaps("/dev/zram0 partition 8 0 100\n/swapfile file 8 0 -2\n").as_deref(), Some("/swapfile"));
        assert_eq!(swaps("/dev/dm-0 partition 8 0 -2\n").as_deref(), Some("/dev/dm-0"));
        assert!(!is_encrypted("/dev/sda2") && !is_encrypted("/dev/dm-../x"));
        assert!(!never_swaps(table, 24) && !never_swaps(table, 2) && !never_swaps("", 22));
    }
}
