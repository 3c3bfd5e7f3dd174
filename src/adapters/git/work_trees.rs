//! The work trees that belong together: those of a repository, of the repositories it is a submodule of, and their
//! linked ones. Read from disk without starting a program. Anyone who can write to one may be able to write to the
//! others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::adapters::fs::files;

/// The maximum size of a git file that is read here, in bytes.
const LIMIT: u64 = 64 << 10;
/// The maximum number of linked work trees read per repository.
const LINKED: usize = 1024;

/// The work trees of the repositories that contain these directories: their own, the main and the linked ones, and
/// those that they are submodules of. The file system root is never one.
pub fn work_trees(directories: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    let mut next: Vec<PathBuf> = directories.into_iter().collect();
    while let Some(directory) = next.pop().map(|directory| directory.canonicalize()) {
        let Ok(directory) = directory else { continue };
        let top = files::enclosing(&directory, ".git");
        if let Some(top) = top.filter(|top| top.parent().is_some() && found.insert(top.to_path_buf())) {
            next.extend(of(top));
        }
    }
    found.into_iter().collect()
}

/// The work trees that a work tree refers to.
fn of(top: &Path) -> Vec<PathBuf> {
    let dot = top.join(".git");
    // A symlink to it, or a file that names it: for a submodule or a linked work tree.
    let named = || Some(top.join(line(&dot)?.strip_prefix("gitdir: ")?));
    let directory = dot.canonicalize().ok().filter(|dot| dot.is_dir()).or_else(named);
    let Some(directory) = directory.and_then(|directory| directory.canonicalize().ok()) else { return Vec::new() };
    let common = line(&directory.join("commondir")).and_then(|line| directory.join(line).canonicalize().ok());
    let common = common.unwrap_or_else(|| directory.clone());
    let mut others = Vec::new();
    // `TOP/.git`, `TOP/.git/worktrees/NAME`, `TOP/.git/modules/NAME`, or nested ones.
    for place in [&directory, &common] {
        let dots = place.ancestors().filter(|above| above.file_name().is_some_and(|name| name == ".git"));
        others.extend(dots.filter_map(Path::parent).map(Path::to_owned));
    }
    let linked = std::fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten().take(LINKED);
    others.extend(
        linked.filter_map(|entry| entry.path().join(line(&entry.path().join("gitdir"))?).parent().map(Path::to_owned)),
    );
    // A submodule that was a repository before still has its own `.git`.
    let above = top.ancestors().skip(1).filter(|above| lists(above, top));
    others.extend(above.map(Path::to_owned));
    others
}

/// Whether a work tree has another as a submodule.
fn lists(above: &Path, top: &Path) -> bool {
    let Ok(below) = top.strip_prefix(above) else { return false };
    let text = files::read(&above.join(".gitmodules"), LIMIT).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let paths = text.lines().filter_map(|line| line.trim().strip_prefix("path")?.trim_start().strip_prefix('='));
    paths.into_iter().any(|path| Path::new(path.trim().trim_matches('"')) == below)
}

/// Reads a git file with a single line.
fn line(path: &Path) -> Option<String> {
    let text = String::from_utf8(files::read(path, LIMIT).ok()?).ok()?;
    Some(text.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::process::Invocation;

    fn git(directory: &Path, words: &[&str]) {
        let call = Invocation::new("git").args(["-c", "protocol.file.allow=always", "-c", "user.name=a"]);
        let call = call.args(["-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]);
        call.args(words).in_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").read().unwrap();
    }

    #[test]
    fn what_belongs_together_is_found() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().canonicalize().unwrap().join(name);
        for name in ["inner", "outer", "other"] {
            std::fs::create_dir(at(name)).unwrap();
            git(&at(name), &["init", "-q"]);
            git(&at(name), &["commit", "-q", "--allow-empty", "-m", "one"]);
        }
        git(&at("outer"), &["submodule", "--quiet", "add", at("inner").to_str().unwrap(), "a/fleet"]);
        git(&at("outer"), &["worktree", "add", "-q", "-b", "b", at("linked").to_str().unwrap()]);
        std::fs::create_dir(at("outer/a/old")).unwrap();
        git(&at("outer/a/old"), &["init", "-q"]);
        git(&at("outer/a/old"), &["commit", "-q", "--allow-empty", "-m", "one"]);
        git(&at("outer"), &["submodule", "--quiet", "add", "./a/old", "a/old"]);
        let trees = |name: &str| work_trees([at(name)]);
        let all = [at("linked"), at("outer")];
        assert_eq!(trees("outer"), all);
        assert_eq!(trees("linked"), all);
        for inner in ["outer/a/fleet", "outer/a/old"] {
            assert_eq!(trees(inner), [at("linked"), at("outer"), at(inner)]);
        }
        // A repository that is only nested in another does not belong to it.
        git(&at("outer"), &["init", "-q", "nested"]);
        assert_eq!(trees("outer/nested"), [at("outer/nested")]);
        assert_eq!(trees("other"), [at("other")]);
        std::fs::create_dir(at("bare")).unwrap();
        assert!(trees("bare").is_empty());
    }
}
