//! Kernel features that only Linux has. `system_elsewhere.rs` has the same names, for the admin's half on macOS.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, RawMode};
use rustix::io::Result;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, Signal, getpid, pidfd_getfd, pidfd_open,
    pidfd_send_signal, prlimit, set_dumpable_behavior,
};

pub use rustix::fs::{ResolveFlags, fsync, openat2, syncfs};

/// Opens a path without access to its content.
pub const PATH: OFlags = OFlags::PATH;
/// Whether `syncfs` flushes all earlier writes.
pub const SYNCS_ALL: bool = true;
/// Whether a child can have another file limit than ours.
pub const LIMITS_CHILDREN: bool = true;

/// Becomes readable once a child has exited.
pub type ChildEnd = OwnedFd;

pub fn end_of(child: Pid) -> Result<ChildEnd> {
    pidfd_open(child, PidfdFlags::empty())
}

pub fn kill(end: &ChildEnd) -> Result<()> {
    pidfd_send_signal(end, Signal::KILL)
}

/// A copy of an open descriptor of this process.
pub fn descriptor(number: i32) -> Result<OwnedFd> {
    let ours = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(&ours, number, PidfdGetfdFlags::empty())
}

/// The path of an open file.
pub fn path_of(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

pub fn mode(bits: RawMode) -> Mode {
    Mode::from_raw_mode(bits)
}

/// Fills the start of a buffer with random bytes, and returns how many.
pub fn random(buffer: &mut [u8]) -> Result<usize> {
    rustix::rand::getrandom(buffer, rustix::rand::GetRandomFlags::empty())
}

pub fn limit_files(child: Pid, limit: Rlimit) -> Result<Rlimit> {
    prlimit(Some(child), Resource::Nofile, limit)
}

/// Prevents other processes of the same user from reading our memory.
pub fn close_memory() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// An in-memory file.
pub fn memory(name: &str) -> Result<OwnedFd> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)
}

/// Releases the memory of a part of such a file.
pub fn give_back(file: &File, from: u64, length: u64) -> Result<()> {
    rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, length)
}
