//! Where secrets are put on a host, and where none may be put.

/// Where secrets are found on a host, unless they say otherwise.
pub const DELIVERED: &str = "/run/sealift";
/// Where secrets that users need are found.
pub const DELIVERED_FOR_USERS: &str = "/run/sealift-users";
/// What an install keeps on a host: the links to what is live, the generations behind them, and the lock.
const OWN: [&str; 5] = [DELIVERED, "/run/sealift.d", DELIVERED_FOR_USERS, "/run/sealift-users.d", "/run/sealift.lock"];

/// Why a path is not one that a secret may be found at, whose usual place is this.
pub fn path_fault(path: &str, usual: &str) -> Option<&'static str> {
    let parts = || path.split('/').skip(1);
    if !path.starts_with('/') {
        Some("the path is not absolute")
    } else if path.len() > 1024 || !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@:".contains(&b)) {
        Some("the path has characters other than letters, digits and /._-+@:")
    } else if parts().any(|part| part.is_empty() || part == "." || part == "..") {
        Some("the path has an empty part, `.` or `..`")
    } else if path == usual {
        None
    } else {
        taken(path)
    }
}

/// Whose a path is where no link to a secret is made.
pub fn taken(path: &str) -> Option<&'static str> {
    if is_below(path, "/nix") {
        Some("the path is in the Nix store, which everyone can read")
    } else if is_below(path, "/proc") || is_below(path, "/sys") {
        Some("the path is the kernel's")
    } else if OWN.iter().any(|own| is_below(path, own)) {
        Some("the path is where sealift keeps its own files")
    } else {
        None
    }
}

/// Whether a path is this folder, or lies in it.
pub fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
