//! This process itself: its limit of open files, its children, its session.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

use crate::adapters::system;

/// The limit of open files before we raised it.
static OPEN_FILES: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files to the hard limit: deploying to many hosts needs more than the usual default.
/// Children get the original limit, because programs that use select(2) rely on a low one.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // On failure, the low limit still works with fewer open files.
    if system::LIMITS_CHILDREN && setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok() {
        let _said_before = OPEN_FILES.set(limit);
    }
}

/// Restores the original limit for a child.
pub(super) fn lower_open_files(child: Pid) {
    if let Some(limit) = OPEN_FILES.get() {
        // A child that became root meanwhile keeps our limit.
        let _not_ours = system::limit_files(child, *limit);
    }
}

/// Whether a child of this process, or one reparented to it, is still running. Reaps children, so none may be waited
/// for elsewhere.
pub fn leaves_children() -> bool {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some(_ended)) => {}
            Ok(None) => return true,
            Err(_none) => return false,
        }
    }
}

/// Starts a new session, so that a hangup of the terminal or the end of the parent no longer ends this process.
pub fn leave_session() {
    // Fails only for a process group leader, as under a service manager, where no terminal can end it.
    let _leads_already = rustix::process::setsid();
}
