//! This process itself: how many files it may have open, its children, its session.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

use crate::adapters::system;

/// How many files a process might have open before we raised it for ourselves.
static OPEN_FILES: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files to the hard one: many hosts at once need more than most systems allow a process
/// that asks for nothing. Children get what we got, because a program that uses select(2) relies on a low one.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Only allowed, never needed: with few files open the low limit does.
    if system::LIMITS_CHILDREN && setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok() {
        let _said_before = OPEN_FILES.set(limit);
    }
}

/// Gives a child what we got.
pub(super) fn lower_open_files(child: Pid) {
    if let Some(limit) = OPEN_FILES.get() {
        // One that became root meanwhile keeps ours.
        let _not_ours = system::limit_files(child, *limit);
    }
}

/// Whether a process that this one started, or that was left to it, is at work still. None may be waited for elsewhere.
pub fn leaves_children() -> bool {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some(_ended)) => {}
            Ok(None) => return true,
            Err(_none) => return false,
        }
    }
}

/// Leaves the terminal's session: what happens to the terminal, or to the process that started this one, no longer ends
/// this one.
pub fn leave_session() {
    // Fails only where this process leads a group already, as under a service manager: then nobody's terminal ends it.
    let _leads_already = rustix::process::setsid();
}
