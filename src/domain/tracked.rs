//! Messages about files that Nix does not see, shared by all that find such files: a flake contains only what git tracks.

pub const UNTRACKED: &str = "git does not track it, so Nix does not see it";
pub const IGNORED: &str = "git ignores it, so Nix does not see it";
pub const UNMERGED: &str = "a merge left it unresolved";

/// What a person can do about a file that a merge left unresolved.
pub fn settle(path: &str) -> &'static str {
    if path.ends_with(".age") {
        "settle recipients.toml first: it says who is to read it; then keep the version whose value is in use, `git add` it, and look again"
    } else {
        "keep what both sides declared, `git add` it, and look again"
    }
}
