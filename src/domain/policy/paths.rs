//! Where secrets are delivered on a host, and where they must not be.

/// The default folder of delivered secrets.
pub const DELIVERED: &str = "/run/sealift";
/// The folder of secrets that are needed for users.
pub const DELIVERED_FOR_USERS: &str = "/run/sealift-users";
/// sealift's own paths on a host: the links to the current secrets, their generations, and the lock.
const OWN: [&str; 5] = [DELIVERED, "/run/sealift.d", DELIVERED_FOR_USERS, "/run/sealift-users.d", "/run/sealift.lock"];

/// Why a secret cannot be delivered to a path; `None` if it can. `usual`: the default path of the secret.
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

/// Why no link to a secret may be created at a path, because of what the path belongs to; `None` if it may.
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

/// Whether a path is this folder or lies in it.
pub fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
